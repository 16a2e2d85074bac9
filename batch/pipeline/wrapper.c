/* wrapper.c - wrapper.sh as bytes of the program: the file itself stays readable and testable. */
#include "batch/pipeline/model.h"

__asm__(".pushsection .rodata\n"
	".global adafs_wrapper_begin\n"
	".global adafs_wrapper_end\n"
	"adafs_wrapper_begin:\n"
	".incbin \"" ADAFS_SOURCE_DIR "/batch/pipeline/wrapper.sh\"\n"
	"adafs_wrapper_end:\n"
	".byte 0\n"
	".popsection\n");

extern const char adafs_wrapper_begin[], adafs_wrapper_end[];

const char *wrapper_text(size_t *ret_len)
{
	*ret_len = (size_t)(adafs_wrapper_end - adafs_wrapper_begin);
	return adafs_wrapper_begin;
}
