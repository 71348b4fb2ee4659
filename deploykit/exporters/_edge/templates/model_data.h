// %%PLAIN%%, %%SIZE%% bytes. Written by deploykit.
#ifndef MODEL_DATA_H_
#define MODEL_DATA_H_

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

extern const unsigned char model_data[];
extern const size_t model_data_size;

#ifdef __cplusplus
}
#endif

#endif  // MODEL_DATA_H_
