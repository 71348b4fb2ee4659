// Runs %%NAME%% with TensorFlow Lite Micro. Written by deploykit.
#pragma once

#include <cstdint>

// Once: false when the arena is too small or the model is of another schema.
bool Setup();

// One raw example in, real numbers out%%SIZES%%.
bool Run(%%SIGNATURE%%);
