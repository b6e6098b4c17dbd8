# Compiler flags and third-party libraries. Every library comes from the system's packages (scripts/packages.txt).

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(SGL_CCACHE ccache)
if(SGL_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${SGL_CCACHE})
endif()

add_library(sgl_flags INTERFACE)
target_include_directories(sgl_flags INTERFACE ${CMAKE_SOURCE_DIR}/include ${CMAKE_SOURCE_DIR}/src)
# Numbers must not depend on what the compiler fuses: contraction is written out where it is wanted (see docs/architecture.md).
target_compile_options(sgl_flags INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
                       -ffp-contract=off -fno-math-errno)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC 12 warns falsely of overlap in std::string's operator+ (GCC bug 105651).
  target_compile_options(sgl_flags INTERFACE -Wno-restrict)
endif()
# GCC 12 sees overlapping copies in std::string's own operator+ and operator= (GCC bug 105651).
target_compile_options(sgl_flags INTERFACE
  $<$<AND:$<CXX_COMPILER_ID:GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-restrict>)
if(SGL_WERROR)
  target_compile_options(sgl_flags INTERFACE -Werror)
endif()
target_compile_definitions(sgl_flags INTERFACE SGL_VERSION="${PROJECT_VERSION}")

if(SGL_SANITIZE)
  target_compile_options(sgl_flags INTERFACE -fsanitize=${SGL_SANITIZE} -fno-omit-frame-pointer -O1)
  target_link_options(sgl_flags INTERFACE -fsanitize=${SGL_SANITIZE})
  if(SGL_SANITIZE MATCHES "undefined")
    target_compile_options(sgl_flags INTERFACE -fno-sanitize-recover=undefined)
  endif()
endif()

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(simdjson REQUIRED)
find_package(CLI11 REQUIRED)
find_package(CURL REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(Boost 1.81 REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

set(SGL_LIB_Threads Threads::Threads)
set(SGL_LIB_fmt fmt::fmt)
set(SGL_LIB_spdlog spdlog::spdlog)
set(SGL_LIB_json nlohmann_json::nlohmann_json)
set(SGL_LIB_simdjson simdjson::simdjson)
set(SGL_LIB_cli11 CLI11::CLI11)
set(SGL_LIB_curl CURL::libcurl)
set(SGL_LIB_crypto OpenSSL::Crypto)
set(SGL_LIB_zlib ZLIB::ZLIB)
set(SGL_LIB_boost Boost::headers)
set(SGL_LIB_pcre2 PkgConfig::PCRE2)
set(SGL_LIB_utf8proc PkgConfig::UTF8PROC)

if(SGL_BUILD_TESTS)
  find_package(GTest REQUIRED)
  enable_testing()
endif()
