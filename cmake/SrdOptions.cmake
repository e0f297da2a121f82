# SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
# Language level, warnings and sanitizers, carried by the interface target srd_options.
option(SRD_BUILD_TESTS "Build the tests" ON)
option(SRD_BUILD_BENCH "Build the benchmarks" ON)
# With CMAKE_UNITY_BUILD (the presets that are tested and measured) the compiler reads headers once for so many sources,
# which takes a third of the time. The presets debug and clang compile every source by itself.
set(CMAKE_UNITY_BUILD_BATCH_SIZE 10)
option(SRD_WERROR "Treat warnings as errors" OFF)
option(SRD_FUZZ "Build the fuzz targets as libFuzzer programs (clang)" OFF)
set(SRD_SANITIZE "" CACHE STRING "Sanitizers: address,undefined or thread; empty for none")

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_CXX_VISIBILITY_PRESET hidden)
set(CMAKE_VISIBILITY_INLINES_HIDDEN ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lib)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

add_library(srd_options INTERFACE)
target_compile_options(srd_options INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow
    $<$<COMPILE_LANG_AND_ID:CXX,Clang>:-Wthread-safety>
    $<$<BOOL:${SRD_WERROR}>:-Werror>)

# Records of 100 to 200 bytes are cleared on the data path. gcc does that with `rep stos`, whose start-up
# costs more than the clearing: 25 of 100 ns per 64-byte message (engine_bench).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|amd64|AMD64")
    target_compile_options(srd_options INTERFACE
        -mmemset-strategy=unrolled_loop:512:noalign,libcall:-1:noalign
        -mmemcpy-strategy=unrolled_loop:512:noalign,libcall:-1:noalign)
endif()

# Link-time optimization joins engine, backend and provider: a sixth of the engine's time. Objects stay
# ordinary ones as well, and tests are linked from those, which takes no time.
add_library(srd_lto INTERFACE)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND NOT SRD_SANITIZE)
    target_compile_options(srd_lto INTERFACE $<$<NOT:$<CONFIG:Debug>>:-flto=auto -ffat-lto-objects>)
    set(SRD_LTO_LINK $<$<NOT:$<CONFIG:Debug>>:-flto=auto>)
    set(SRD_NO_LTO_LINK -fno-lto) # else the linker's plugin takes whatever has a second half
endif()
if(SRD_SANITIZE)
    # Without UndefinedBehaviorSanitizer where a target says so (SRD_TEST_SOURCES). An option of the target's own cannot: this
    # one comes behind it.
    target_compile_options(srd_options INTERFACE -fsanitize=${SRD_SANITIZE} -fno-omit-frame-pointer
        -fno-sanitize-recover=all $<$<BOOL:$<TARGET_PROPERTY:SRD_TEST_SOURCES>>:-fno-sanitize=undefined>)
    target_link_options(srd_options INTERFACE -fsanitize=${SRD_SANITIZE})
    target_compile_definitions(srd_options INTERFACE SRD_SANITIZED) # compilers tell it in different ways
endif()
if(SRD_FUZZ)
    # What is fuzzed, not only the harness, tells the fuzzer which way it has taken. (Not what it compares: the
    # harnesses know the format, and that costs a sixth of the time.)
    target_compile_options(srd_options INTERFACE -fsanitize=fuzzer-no-link -fno-sanitize-coverage=trace-cmp)
    target_link_options(srd_options INTERFACE -fsanitize=fuzzer-no-link)
endif()
