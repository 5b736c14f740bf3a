# What every folder's CMakeLists.txt uses: warnings, sanitizers, and the three kinds of target.
#
#   shunt_library(NAME SOURCES... [LINK ...])  one static library per folder, include root = top level
#   shunt_test(NAME SOURCES... [LINK ...])     doctest cases, each a ctest of its own, label "unit"
#   shunt_fuzz(NAME SOURCE [LINK ...])         a libFuzzer binary (preset fuzz); `ctest` does not run it

# What one clone has compiled another one finds: ccache sees paths below the source directory as relative.
# Reports of sanitizers name files, but the directory above them may be that of the clone that compiled
# first; debuggers need the right one.
find_program(CCACHE ccache)
if(CCACHE)
  set(launcher ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${PROJECT_SOURCE_DIR})
  if(SHUNT_SANITIZE)
    list(APPEND launcher CCACHE_NOHASHDIR=1)
  endif()
  list(APPEND launcher ${CCACHE})
  set(CMAKE_C_COMPILER_LAUNCHER ${launcher})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${launcher})
endif()

find_package(doctest REQUIRED)
include(doctest)
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

add_library(shunt_options INTERFACE)
target_include_directories(shunt_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(shunt_options INTERFACE _GNU_SOURCE SHUNT_VERSION="${PROJECT_VERSION}")
target_compile_options(shunt_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
  # -Wrestrict and -Wmaybe-uninitialized misfire on std::string in g++ 12 when optimising (GCC bugs
  # 105651, 105562); clang and the sanitizers look for the real ones.
  "$<$<CXX_COMPILER_ID:GNU>:-fcoroutines;-Wno-restrict;-Wno-maybe-uninitialized>"
  $<$<BOOL:${SHUNT_WERROR}>:-Werror>)
if(SHUNT_SANITIZE)
  target_compile_options(shunt_options INTERFACE
    -fsanitize=${SHUNT_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  # clang 14 cannot emit the function-type check for coroutines ("difference across sections").
  target_compile_options(shunt_options INTERFACE $<$<CXX_COMPILER_ID:Clang>:-fno-sanitize=function>)
  target_link_options(shunt_options INTERFACE -fsanitize=${SHUNT_SANITIZE})
endif()
if(SHUNT_FUZZ)
  target_compile_options(shunt_options INTERFACE -fsanitize=fuzzer-no-link)
endif()

function(shunt_library name)
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_library(${name} STATIC ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PUBLIC shunt_options ${ARG_LINK})
endfunction()

function(shunt_test name)
  cmake_parse_arguments(ARG "" "" "LINK;LABELS" ${ARGN})
  if(NOT TARGET shunt_doctest_main)
    add_library(shunt_doctest_main OBJECT ${PROJECT_SOURCE_DIR}/scripts/cmake/doctest_main.cc)
    target_link_libraries(shunt_doctest_main PUBLIC shunt_options doctest::doctest)
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  add_executable(${name} ${ARG_UNPARSED_ARGUMENTS})
  target_link_libraries(${name} PRIVATE shunt_options shunt_doctest_main doctest::doctest ${ARG_LINK})
  doctest_discover_tests(${name} TEST_PREFIX "${name}: " PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT 900)
endfunction()

function(shunt_fuzz name source)
  if(NOT SHUNT_FUZZ)
    return()
  endif()
  cmake_parse_arguments(ARG "" "" "LINK" ${ARGN})
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE shunt_options ${ARG_LINK})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
endfunction()
