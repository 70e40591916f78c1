# The Node addon. Under cmake-js: build/Release/diaspora_stream.node. Otherwise, when the headers are installed
# (npm packages node-addon-api and node-api-headers), only its objects, so that clang and clang-tidy see native/node too.
if(NOT DIASPORA_ADDON_SOURCES)
  return()
endif()

set(node_modules "${CMAKE_CURRENT_SOURCE_DIR}/node_modules")
set(addon_definitions
  NAPI_VERSION=${DIASPORA_NAPI_VERSION}
  NAPI_DISABLE_CPP_EXCEPTIONS
  NODE_ADDON_API_DISABLE_DEPRECATED
  # A worker that is being terminated lets no exception be thrown: not an error of ours.
  NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS
  BUILDING_NODE_EXTENSION)

if(CMAKE_JS_VERSION)
  add_library(diaspora_stream SHARED ${DIASPORA_ADDON_SOURCES} ${CMAKE_JS_SRC})
  set_target_properties(diaspora_stream PROPERTIES PREFIX "" SUFFIX ".node")
  target_link_libraries(diaspora_stream PRIVATE ${core_libraries} ${CMAKE_JS_LIB})
  # nodelete: native threads may still be returning through our code when the last environment unloads us.
  # now: a symbol that is missing is an error while loading, not the end of the process at the first call.
  # Bsymbolic, exclude-libs: no symbol of ours or of our libraries meets another addon's.
  target_link_options(diaspora_stream PRIVATE LINKER:-z,nodelete LINKER:-z,now LINKER:-Bsymbolic LINKER:--exclude-libs,ALL)
elseif(EXISTS "${node_modules}/node-addon-api" AND EXISTS "${node_modules}/node-api-headers")
  add_library(diaspora_stream OBJECT ${DIASPORA_ADDON_SOURCES})
  target_link_libraries(diaspora_stream PRIVATE ${core_libraries})
else()
  return()
endif()
target_compile_definitions(diaspora_stream PRIVATE ${addon_definitions})
target_include_directories(diaspora_stream SYSTEM PRIVATE
  "${node_modules}/node-addon-api" "${node_modules}/node-api-headers/include" ${CMAKE_JS_INC})
