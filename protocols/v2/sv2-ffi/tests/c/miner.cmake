# Tests of a miner's end of a connection: included by CMakeLists.txt where the library has one.
add_custom_command(
  OUTPUT miner_vectors.h
  COMMAND "${PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/miner_vectors.py" "${vectors}" "${CMAKE_CURRENT_BINARY_DIR}/miner_vectors.h"
  DEPENDS miner_vectors.py "${vectors}/jobs.json" "${vectors}/noise.json"
  VERBATIM)

sv2_test(miner miner.c "${CMAKE_CURRENT_BINARY_DIR}/miner_vectors.h")
target_include_directories(miner PRIVATE "${CMAKE_CURRENT_BINARY_DIR}")

# The example compiles as it stands; that it mines is for the end-to-end tests.
add_executable(example_miner "${crate}/examples/miner.c")
target_link_libraries(example_miner PRIVATE sv2)
target_compile_options(example_miner PRIVATE -std=c99 ${warnings})
