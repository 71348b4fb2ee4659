// Runs %%NAME%% with LiteRT: ./run ../model.tflite%%ARGUMENTS%%
// Each further file holds one raw example of an input, as ../examples/0-in0.bin does.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

#include "litert/c/litert_common.h"
#include "litert/c/litert_compiled_model.h"
#include "litert/c/litert_environment.h"
#include "litert/c/litert_model.h"
#include "litert/c/litert_options.h"
#include "litert/c/litert_tensor_buffer.h"
#include "litert/c/litert_tensor_buffer_requirements.h"
#include "model.h"

template <typename T>
static std::vector<T> ReadValues(const char* path, size_t count) {
  std::vector<T> values(count);
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(count * sizeof(T)));
  if (!file) throw std::runtime_error(std::string(path) + " does not hold one raw example");
  return values;
}

static void Check(LiteRtStatus status, const char* what) {
  if (status != kLiteRtStatusOk) throw std::runtime_error(std::string(what) + ": status " + std::to_string(status));
}

// The signature may have tensors in another order than the file.
template <typename Name>
static LiteRtParamIndex Place(LiteRtSignature signature, LiteRtParamIndex count, Name name_of, const char* wanted) {
  for (LiteRtParamIndex i = 0; i < count; ++i) {
    const char* name = nullptr;
    Check(name_of(signature, i, &name), "reading a name");
    if (std::strcmp(name, wanted) == 0) return i;
  }
  if (count == 1) return 0;
  throw std::runtime_error(std::string("the model has no tensor ") + wanted);
}

static LiteRtRankedTensorType Type(LiteRtElementType element, std::initializer_list<int32_t> dims) {
  LiteRtRankedTensorType type = {};
  type.element_type = element;
  type.layout.rank = static_cast<unsigned int>(dims.size());
  size_t axis = 0;
  for (int32_t size : dims) type.layout.dimensions[axis++] = size;
  return type;
}

static LiteRtTensorBuffer Input(LiteRtEnvironment env, LiteRtCompiledModel compiled, LiteRtParamIndex place,
                                LiteRtRankedTensorType type) {
  LiteRtTensorBufferRequirements needs = nullptr;
  LiteRtTensorBuffer buffer = nullptr;
  Check(LiteRtGetCompiledModelInputBufferRequirements(compiled, 0, place, &needs), "an input");
  Check(LiteRtCreateManagedTensorBufferFromRequirements(env, &type, needs, &buffer), "an input");
  return buffer;
}

static LiteRtTensorBuffer Output(LiteRtEnvironment env, LiteRtCompiledModel compiled, LiteRtParamIndex place,
                                 LiteRtRankedTensorType type) {
  LiteRtTensorBufferRequirements needs = nullptr;
  LiteRtTensorBuffer buffer = nullptr;
  Check(LiteRtGetCompiledModelOutputBufferRequirements(compiled, 0, place, &needs), "an output");
  Check(LiteRtCreateManagedTensorBufferFromRequirements(env, &type, needs, &buffer), "an output");
  return buffer;
}

template <typename T>
static void Write(LiteRtTensorBuffer buffer, const std::vector<T>& values) {
  void* memory = nullptr;
  Check(LiteRtLockTensorBuffer(buffer, &memory, kLiteRtTensorBufferLockModeWrite), "writing");
  std::memcpy(memory, values.data(), values.size() * sizeof(T));
  Check(LiteRtUnlockTensorBuffer(buffer), "writing");
}

template <typename T>
static std::vector<T> Read(LiteRtTensorBuffer buffer, size_t count) {
  std::vector<T> values(count);
  void* memory = nullptr;
  Check(LiteRtLockTensorBuffer(buffer, &memory, kLiteRtTensorBufferLockModeRead), "reading");
  std::memcpy(values.data(), memory, count * sizeof(T));
  Check(LiteRtUnlockTensorBuffer(buffer), "reading");
  return values;
}

int main(int argc, char** argv) try {
  if (argc != %%COUNT%%) throw std::runtime_error("usage: run MODEL%%ARGUMENTS%%");
  LiteRtEnvironment env = nullptr;
  LiteRtModel model_file = nullptr;
  LiteRtOptions options = nullptr;
  LiteRtCompiledModel compiled = nullptr;
  LiteRtSignature signature = nullptr;
  Check(LiteRtCreateEnvironment(0, nullptr, &env), "the environment");
  Check(LiteRtCreateModelFromFile(env, argv[1], &model_file), argv[1]);
  Check(LiteRtCreateOptions(&options), "options");
  Check(LiteRtSetOptionsHardwareAccelerators(options, kLiteRtHwAcceleratorCpu), "options");
  Check(LiteRtCreateCompiledModel(env, model_file, options, &compiled), "compiling");
  Check(LiteRtGetModelSignature(model_file, 0, &signature), "the signature");
  LiteRtParamIndex fed = 0, given = 0;
  Check(LiteRtGetNumSignatureInputs(signature, &fed), "inputs");
  Check(LiteRtGetNumSignatureOutputs(signature, &given), "outputs");
  std::vector<LiteRtTensorBuffer> inputs(fed), outputs(given);
%%INPUTS%%
%%OUTPUT_BUFFERS%%
  Check(LiteRtRunCompiledModel(compiled, 0, inputs.size(), inputs.data(), outputs.size(), outputs.data()), "running");
%%OUTPUTS%%
  for (LiteRtTensorBuffer buffer : inputs) LiteRtDestroyTensorBuffer(buffer);
  for (LiteRtTensorBuffer buffer : outputs) LiteRtDestroyTensorBuffer(buffer);
  LiteRtDestroyCompiledModel(compiled);
  LiteRtDestroyOptions(options);
  LiteRtDestroyModel(model_file);
  LiteRtDestroyEnvironment(env);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
