# cmake -B build -DLITERT=/path/to/litert && cmake --build build
# LITERT holds LiteRT's C headers (litert/c/…) and its library, libLiteRt.so.
cmake_minimum_required(VERSION 3.13)
project(run CXX)
set(CMAKE_CXX_STANDARD 17)
set(LITERT "" CACHE PATH "Headers and library of LiteRT")
find_path(LITERT_INCLUDE litert/c/litert_model.h PATHS ${LITERT} PATH_SUFFIXES include REQUIRED)
find_library(LITERT_LIBRARY NAMES LiteRt PATHS ${LITERT} PATH_SUFFIXES lib REQUIRED)
add_executable(run main.cpp)
target_include_directories(run PRIVATE ${LITERT_INCLUDE})
target_link_libraries(run PRIVATE ${LITERT_LIBRARY})
