# The cuda backend: nvcc, and which GPUs the kernels are compiled for. cudart is linked statically, and cuBLASLt is opened
# at run time, so that the program starts on a machine without either.
#
# Each architecture gets machine code; 80 also PTX, which newer GPUs compile at start. 90a, with the "a", is Hopper with
# its own instructions. Building for one alone takes half the time: -DSGL_CUDA_ARCHITECTURES=90a
set(SGL_CUDA_ARCHITECTURES "80;90a" CACHE STRING "GPU architectures of the cuda backend")
set(CMAKE_CUDA_ARCHITECTURES OFF)  # given to nvcc below: CMake 3.25 does not know 90a
if(SGL_CCACHE)
  # By the files that a source includes, not by its preprocessed text: ccache preprocesses for the host alone, so that a
  # change between #ifdef __CUDA_ARCH__ and #endif would be answered with the old object.
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_DEPEND=1 ${SGL_CCACHE})
endif()
enable_language(CUDA)
# CMake 3.25 knows nvcc's standards up to 17.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
find_package(CUDAToolkit 12.0 REQUIRED)

add_library(sgl_cuda_flags INTERFACE)
foreach(arch ${SGL_CUDA_ARCHITECTURES})
  set(code sm_${arch})
  if(arch STREQUAL "80")
    set(code [sm_80,compute_80])
  endif()
  target_compile_options(sgl_cuda_flags INTERFACE
    $<$<COMPILE_LANGUAGE:CUDA>:-gencode=arch=compute_${arch},code=${code}>)
endforeach()
# No -Wpedantic: nvcc's own output for the host is not.
target_compile_options(sgl_cuda_flags INTERFACE
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra,-Wno-unused-parameter>
  $<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${SGL_WERROR}>>:-Werror=all-warnings>)
target_compile_definitions(sgl_cuda_flags INTERFACE SGL_CUDA)
target_link_libraries(sgl_cuda_flags INTERFACE CUDA::cudart_static)
