// What JS holds: driver and server references, with the type tags that tell them apart.
//
// Owners: the external objects of JS, and whatever was opened on a driver (so that a driver lives as long as its
// producers). The last one to let go closes the driver or stops the server, without waiting. JS thread only.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "client/client.h"
#include "node/environment.h"
#include "node/server_handle.h"

namespace diaspora::node {

// Random; they mean nothing but "made by this addon".
inline constexpr napi_type_tag kDriverTag{0x6c1f0b9d7a3e4482, 0x9b52c7f3e1d8460a};
inline constexpr napi_type_tag kServerTag{0x21e97c4fd05b4b6e, 0xa7348d1f96c20be5};

class ServerRef {
 public:
  ServerRef(std::shared_ptr<Environment> environment, std::shared_ptr<ServerHandle> server, uint32_t id)
      : environment_(std::move(environment)), server_(std::move(server)), id_(id) {}
  ~ServerRef() { environment_->abandon_server(server_); }
  ServerRef(const ServerRef&) = delete;
  ServerRef& operator=(const ServerRef&) = delete;

  const std::shared_ptr<ServerHandle>& server() const { return server_; }
  uint32_t id() const { return id_; }

 private:
  const std::shared_ptr<Environment> environment_;
  const std::shared_ptr<ServerHandle> server_;
  const uint32_t id_;
};

class DriverRef {
 public:
  struct Parts {
    std::shared_ptr<Environment> environment;
    std::shared_ptr<client::Client> client;
    std::shared_ptr<ServerRef> embedded;  // null for a remote driver
    uint64_t driver = 0;                  // the environment's number
    uint32_t zero_copy_threshold = 0;
  };

  explicit DriverRef(Parts parts) : parts_(std::move(parts)) {}
  ~DriverRef() { static_cast<void>(close(0)); }
  DriverRef(const DriverRef&) = delete;
  DriverRef& operator=(const DriverRef&) = delete;

  client::Client& client() const { return *parts_.client; }
  Environment& environment() const { return *parts_.environment; }
  uint32_t zero_copy_threshold() const { return parts_.zero_copy_threshold; }
  bool closed() const { return closed_; }
  // `request` (0: none) completes when native memory is idle. False when it is closed already.
  bool close(uint64_t request) {
    if (std::exchange(closed_, true)) return false;
    parts_.environment->close_client(parts_.driver, request);
    return true;
  }

 private:
  const Parts parts_;
  bool closed_ = false;
};

// The driver behind argument `value`, or null with an exception pending (wrong type, or INVALID_STATE when closed).
std::shared_ptr<DriverRef> driver_argument(napi_env env, napi_value value);
// The server behind `value`, or null when it is none.
std::shared_ptr<ServerRef> server_argument(napi_env env, napi_value value);

}  // namespace diaspora::node
