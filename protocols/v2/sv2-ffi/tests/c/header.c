/* Compiled with every warning as C89 and as C++98: the header must need nothing newer, alone and included twice. */
#include "sv2.h"
#include "sv2.h"

sv2_result (*const header_names[])(sv2_decoder *) = {sv2_decoder_free};
