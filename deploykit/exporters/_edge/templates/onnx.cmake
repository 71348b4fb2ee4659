# cmake -B build -DONNXRUNTIME=/path/to/onnxruntime && cmake --build build
# ONNXRUNTIME is an unpacked release of ONNX Runtime: it has include/ and lib/.
cmake_minimum_required(VERSION 3.13)
project(run CXX)
set(CMAKE_CXX_STANDARD 17)
set(ONNXRUNTIME "" CACHE PATH "An unpacked release of ONNX Runtime")
find_path(ORT_INCLUDE onnxruntime_cxx_api.h PATHS ${ONNXRUNTIME} PATH_SUFFIXES include onnxruntime REQUIRED)
find_library(ORT_LIBRARY onnxruntime PATHS ${ONNXRUNTIME} PATH_SUFFIXES lib REQUIRED)
add_executable(run main.cpp)
target_include_directories(run PRIVATE ${ORT_INCLUDE})
target_link_libraries(run PRIVATE ${ORT_LIBRARY})
