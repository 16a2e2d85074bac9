/*
 * emulator/batch/node/transfer.h - resource files before a task's command and output files after
 * it, through the URLs that the task holds, as a node moves them.
 */
#ifndef ADAFS_EMULATOR_BATCH_TRANSFER_H
#define ADAFS_EMULATOR_BATCH_TRANSFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "batch/azure/http.h"
#include "batch/base/json.h"

struct batch_transfer {
	struct adafs_http *http;
	const char *task_dir; /* logs of uploads go here */
	const char *wd;       /* what paths and patterns are relative to */
	char *const *envp;    /* $NAME in patterns */
	const atomic_bool *cancelled;
	int stop_fd;          /* readable from when cancelled is set; borrowed */
	uint64_t deadline_ms; /* monotonic; UINT64_MAX: none */
};

/* failureInfo with details as name and value in turns, ended by NULL. NULL: out of memory. */
cJSON *batch_failure_new(const char *category, const char *code, const char *message, ...)
	__attribute__((sentinel));

/*
 * Bring the resource files. 0; -ECANCELED (cancelled or past the deadline); any other negative
 * errno with *ret_failure set to the failureInfo.
 */
int batch_transfer_stage(const struct batch_transfer *t, const cJSON *resource_files,
			 cJSON **ret_failure);
/*
 * Store the output files whose condition fits. One that fails does not stop the others; the first
 * failure is returned. Writes fileuploadout.txt and fileuploaderr.txt if anything was tried.
 */
int batch_transfer_upload(const struct batch_transfer *t, const cJSON *output_files, bool success,
			  cJSON **ret_failure);

#endif
