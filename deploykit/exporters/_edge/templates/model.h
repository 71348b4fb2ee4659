// %%NAME%%: what one raw example becomes, and what the model's answers are. Written by deploykit.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>

namespace model {

%%FACTS%%

%%CODE%%

}  // namespace model
