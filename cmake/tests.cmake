# One GoogleTest program for each native folder that has *_test.cc, every test of it registered with ctest, and one
# program for each *_bench.cc (with its own main). native/testing is linked to all of them and to nothing else.
file(GLOB testing_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/native/testing/*.cc")
list(FILTER testing_sources EXCLUDE REGEX "_(test|bench|fuzz)\\.cc$")
if(testing_sources)
  add_library(diaspora_testing STATIC ${testing_sources})
  target_link_libraries(diaspora_testing PUBLIC ${core_libraries})
else()
  add_library(diaspora_testing INTERFACE)
  target_link_libraries(diaspora_testing INTERFACE ${core_libraries})
endif()

if(DIASPORA_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
  enable_testing()
  foreach(folder ${DIASPORA_FOLDERS} testing)
    file(GLOB tests CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/native/${folder}/*_test.cc")
    if(tests)
      add_executable(${folder}_tests ${tests})
      target_link_libraries(${folder}_tests PRIVATE diaspora_testing GTest::gtest_main)
      # PRE_TEST: listing the tests is ctest's work; a build never runs what it has just built.
      # 300 s is a watchdog against hangs, far above what any test needs.
      gtest_discover_tests(${folder}_tests TEST_PREFIX "${folder}/" DISCOVERY_MODE PRE_TEST
        DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300)
    endif()
  endforeach()
endif()

if(DIASPORA_TESTS)
  # For LD_PRELOAD: test/rdma/audit.ts.
  add_library(mr_audit MODULE "${CMAKE_CURRENT_SOURCE_DIR}/native/testing/preload/mr_audit.cc")
  target_link_libraries(mr_audit PRIVATE ${CMAKE_DL_LIBS})
endif()

if(DIASPORA_BENCH)
  file(GLOB_RECURSE benches CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/native/*_bench.cc")
  foreach(bench ${benches})
    get_filename_component(name "${bench}" NAME_WE)
    add_executable(${name} "${bench}")
    target_link_libraries(${name} PRIVATE diaspora_testing)
  endforeach()
endif()

# libFuzzer programs, one for each *_fuzz.cc: clang only.
option(DIASPORA_FUZZ "Build the fuzzers (needs clang)" OFF)
if(DIASPORA_FUZZ)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    message(FATAL_ERROR "DIASPORA_FUZZ needs clang: configure with -DCMAKE_CXX_COMPILER=clang++")
  endif()
  file(GLOB_RECURSE fuzzers CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/native/*_fuzz.cc")
  foreach(fuzzer ${fuzzers})
    get_filename_component(name "${fuzzer}" NAME_WE)
    add_executable(${name} "${fuzzer}")
    target_link_libraries(${name} PRIVATE ${core_libraries})
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  endforeach()
endif()
