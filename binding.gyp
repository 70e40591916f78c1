{
  # What users and prebuilds compile (node-gyp, prebuildify). Developers build with CMakeLists.txt; both read the one
  # list of sources in native/sources.gypi. The headers come from npm packages: no download is needed for them.
  "includes": ["native/sources.gypi"],
  "targets": [
    {
      "target_name": "diaspora_stream",
      "sources": ["<@(core_sources)", "<@(addon_sources)"],
      "include_dirs": [
        "<@(header_roots)",
        "<!(node -p \"require('node-addon-api').include_dir\")",
        "<!(node -p \"require('node-api-headers').include_dir\")",
      ],
      "defines": [
        "NAPI_VERSION=<(napi_version)",
        "NAPI_DISABLE_CPP_EXCEPTIONS",
        "NODE_ADDON_API_DISABLE_DEPRECATED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
      ],
      "cflags!": ["-fno-omit-frame-pointer"],
      # std::variant and std::get are used inside folders: exceptions and RTTI as the standard library wants them.
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20", "-std=c++17"],
      # The last two are wrong in g++ 12, as CMakeLists.txt says.
      "cflags_cc": ["-std=c++<(cxx_standard)", "-O3", "-fexceptions", "-fvisibility=hidden", "-Wno-array-bounds", "-Wno-stringop-overflow"],
      "ldflags": [
        "-Wl,-z,nodelete",
        "-Wl,-z,now",
        "-Wl,-Bsymbolic",
        "-Wl,--exclude-libs,ALL",
        "-static-libstdc++",
        "-static-libgcc",
      ],
      "libraries": ["-ldl", "-lpthread"],
    }
  ],
}
