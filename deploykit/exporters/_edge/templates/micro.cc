// Runs %%NAME%% with TensorFlow Lite Micro. Written by deploykit.
#include "main_functions.h"

#include <cstring>

#include "model.h"
#include "model_data.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#include "tensorflow/lite/micro/micro_log.h"
#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"
#include "tensorflow/lite/micro/system_setup.h"
#include "tensorflow/lite/schema/schema_generated.h"

namespace {

// An upper estimate: %%PLANNED%% bytes of tensors, the rest is what the interpreter keeps. The log shows what is used.
constexpr size_t kArenaBytes = %%ARENA%%;
alignas(16) uint8_t arena[kArenaBytes];
tflite::MicroInterpreter* interpreter = nullptr;

}  // namespace

bool Setup() {
  tflite::InitializeTarget();
  const tflite::Model* file = tflite::GetModel(model_data);
  if (file->version() != TFLITE_SCHEMA_VERSION) return false;
  static tflite::MicroMutableOpResolver<%%COUNT%%> resolver;
%%ADDED%%
  static tflite::MicroInterpreter made(file, resolver, arena, kArenaBytes);
  if (made.AllocateTensors() != kTfLiteOk) return false;
  interpreter = &made;
  MicroPrintf("arena: %d of %d bytes used", static_cast<int>(made.arena_used_bytes()), static_cast<int>(kArenaBytes));
  return true;
}

bool Run(%%SIGNATURE%%) {
%%INPUTS%%
  if (interpreter->Invoke() != kTfLiteOk) return false;
%%OUTPUTS%%
  return true;
}
