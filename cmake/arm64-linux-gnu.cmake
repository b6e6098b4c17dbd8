# Cross build for 64-bit ARM Linux with Debian's g++-aarch64-linux-gnu; programs run under qemu-user.
# The libraries come from build/arm64-sysroot: scripts/arm64_sysroot.sh makes it.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

get_filename_component(sgl_arm64_root ${CMAKE_CURRENT_LIST_DIR}/../build/arm64-sysroot ABSOLUTE)
# Libraries and headers from there only; programs (ccache, pkg-config) from the host only. Not CMAKE_SYSROOT: the C
# library is the compiler's own.
set(CMAKE_FIND_ROOT_PATH ${sgl_arm64_root} /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_LIBDIR} ${sgl_arm64_root}/usr/lib/aarch64-linux-gnu/pkgconfig:${sgl_arm64_root}/usr/share/pkgconfig)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${sgl_arm64_root})

# Libraries that the linked ones need in turn.
set(sgl_arm64_libs ${sgl_arm64_root}/usr/lib/aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT "-Wl,-rpath-link,${sgl_arm64_libs} -Wl,-rpath-link,${sgl_arm64_root}/lib/aarch64-linux-gnu")
set(CMAKE_CROSSCOMPILING_EMULATOR
    qemu-aarch64;-L;/usr/aarch64-linux-gnu;-E;LD_LIBRARY_PATH=${sgl_arm64_libs}:${sgl_arm64_root}/lib/aarch64-linux-gnu)
