#include "model_data.h"

#if defined(__cplusplus)
#define ALIGNED alignas(16)
#elif __STDC_VERSION__ >= 201112L
#define ALIGNED _Alignas(16)
#else
#define ALIGNED __attribute__((aligned(16)))
#endif

ALIGNED const unsigned char model_data[] = {
%%BYTES%%
};
const size_t model_data_size = sizeof(model_data);
