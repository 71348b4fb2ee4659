// Runs %%NAME%% with ONNX Runtime: ./run ../model.onnx%%ARGUMENTS%%
// Each further file holds one raw example of an input, as ../examples/0-in0.bin does.
#include <onnxruntime_cxx_api.h>

#include <cstdio>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "model.h"

template <typename T>
static std::vector<T> ReadValues(const char* path, size_t count) {
  std::vector<T> values(count);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
  if (!file) throw std::runtime_error(std::string(path) + " does not hold one raw example");
  return values;
}

int main(int argc, char** argv) try {
  if (argc != %%COUNT%%) throw std::runtime_error("usage: run MODEL%%ARGUMENTS%%");
  Ort::Env env(ORT_LOGGING_LEVEL_WARNING, "%%PLAIN%%");
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
#ifdef _WIN32
  const std::string given(argv[1]);
  Ort::Session session(env, std::wstring(given.begin(), given.end()).c_str(), options);
#else
  Ort::Session session(env, argv[1], options);
#endif
  const Ort::MemoryInfo memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<Ort::Value> inputs;
%%INPUTS%%
  const char* input_names[] = {%%INPUT_NAMES%%};
  const char* output_names[] = {%%OUTPUT_NAMES%%};
  std::vector<Ort::Value> outputs =
      session.Run(Ort::RunOptions{nullptr}, input_names, inputs.data(), inputs.size(), output_names, %%OUTPUTS_COUNT%%);
%%OUTPUTS%%
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
