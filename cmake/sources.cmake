# Reads native/sources.gypi: DIASPORA_CORE_SOURCES, DIASPORA_ADDON_SOURCES, DIASPORA_HEADER_ROOTS (absolute paths),
# DIASPORA_CXX_STANDARD, DIASPORA_NAPI_VERSION. A listed file that does not exist is an error.
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/native/sources.gypi")
file(READ "${CMAKE_CURRENT_SOURCE_DIR}/native/sources.gypi" manifest)

function(read_paths name out)
  set(paths "")
  string(JSON count LENGTH "${manifest}" variables ${name})
  math(EXPR last "${count} - 1")
  if(last GREATER_EQUAL 0)
    foreach(index RANGE ${last})
      string(JSON path GET "${manifest}" variables ${name} ${index})
      if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${path}")
        message(FATAL_ERROR "native/sources.gypi lists ${path} in ${name}, which does not exist")
      endif()
      list(APPEND paths "${CMAKE_CURRENT_SOURCE_DIR}/${path}")
    endforeach()
  endif()
  set(${out} "${paths}" PARENT_SCOPE)
endfunction()

read_paths(core_sources DIASPORA_CORE_SOURCES)
read_paths(addon_sources DIASPORA_ADDON_SOURCES)
read_paths(header_roots DIASPORA_HEADER_ROOTS)
string(JSON DIASPORA_CXX_STANDARD GET "${manifest}" variables cxx_standard)
string(JSON DIASPORA_NAPI_VERSION GET "${manifest}" variables napi_version)

# Those of `paths` that lie in native/<folder>.
function(diaspora_sources_of folder paths out)
  list(FILTER paths INCLUDE REGEX "/native/${folder}/")
  set(${out} "${paths}" PARENT_SCOPE)
endfunction()
