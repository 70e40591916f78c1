// Work that may block (name resolution, provider discovery), kept off the progress thread.
//
// What it is not: a pool. Each call is a short-lived detached thread; there are a few in the life of a driver. `work`
// must own everything that it uses and hands its result over with Reactor::post.
#pragma once

#include <functional>

namespace diaspora::client {

void run_in_background(std::function<void()> work);

}  // namespace diaspora::client
