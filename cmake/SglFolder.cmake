# sgl_folder(NAME DEPS <folders> THIRD_PARTY <libraries>)
#
# Makes the static library sgl_NAME from src/NAME/*.cpp and, with SGL_BUILD_TESTS, the program NAME_test from
# src/NAME/*_test.cpp. A file's suffix decides how it is built:
#   *_test.cpp    a unit test, beside its source
#   *_avx2.cpp    compiled for AVX2 + FMA + F16C        (x86-64 only; chosen at run time)
#   *_avx512.cpp  compiled for AVX-512 F/BW/VL/DQ/VNNI  (x86-64 only; chosen at run time)
#   main.cpp      left out: the program's entry
# A folder without sources becomes an interface library, so that an empty one builds.
function(sgl_folder name)
  cmake_parse_arguments(ARG "" "" "DEPS;THIRD_PARTY" ${ARGN})
  set(dir ${CMAKE_SOURCE_DIR}/src/${name})
  file(GLOB sources CONFIGURE_DEPENDS ${dir}/*.cpp)
  set(tests ${sources})
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")
  list(FILTER sources EXCLUDE REGEX "(_test|/main)\\.cpp$")
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(FILTER sources EXCLUDE REGEX "_avx(2|512)\\.cpp$")
  endif()

  foreach(source ${sources})
    if(source MATCHES "_avx2\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c;-O3")
    elseif(source MATCHES "_avx512\\.cpp$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS
        "-mavx2;-mfma;-mf16c;-mavx512f;-mavx512bw;-mavx512vl;-mavx512dq;-mavx512vnni;-O3")
    endif()
  endforeach()

  set(libraries "")
  foreach(dep ${ARG_DEPS})
    list(APPEND libraries sgl_${dep})
  endforeach()
  foreach(lib ${ARG_THIRD_PARTY})
    list(APPEND libraries ${SGL_LIB_${lib}})
  endforeach()

  if(sources)
    add_library(sgl_${name} STATIC ${sources})
    target_link_libraries(sgl_${name} PUBLIC ${libraries} PRIVATE sgl_flags)
    target_include_directories(sgl_${name} PUBLIC ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
  else()
    add_library(sgl_${name} INTERFACE)
    target_link_libraries(sgl_${name} INTERFACE ${libraries})
    target_include_directories(sgl_${name} INTERFACE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
  endif()

  if(SGL_BUILD_TESTS AND tests)
    add_executable(${name}_test ${tests})
    target_link_libraries(${name}_test PRIVATE sgl_${name} sgl_flags GTest::gtest GTest::gtest_main)
    target_compile_definitions(${name}_test PRIVATE SGL_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    set_target_properties(${name}_test PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME ${name} COMMAND ${name}_test)
    set_tests_properties(${name} PROPERTIES LABELS unit)
  endif()
endfunction()
