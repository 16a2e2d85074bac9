/* foreman/explain.c - exit codes and failure codes of the service in words, with what to do. */
#include <stdio.h>
#include <string.h>

#include "batch/foreman/derive.h"

struct code_text {
	int code;
	const char *text;
};

static const struct code_text exits[] = {
	{ 1, "exit code 1: the command failed; its stderr.txt says why" },
	{ 2,
	  "exit code 2: the command failed, often for a wrong argument; its stderr.txt says why" },
	{ ADAFS_EXIT_EMPTY, "exit code 64: nothing was found" },
	{ ADAFS_EXIT_OUTPUT_MISSING,
	  "exit code 66: the command ended well but a declared output is "
	  "missing; stderr.txt names it" },
	{ ADAFS_EXIT_SAS_SHORT,
	  "exit code 77: the access (SAS) that the step was submitted with ended too soon to start "
	  "it; a retry submits it anew" },
	{ ADAFS_EXIT_SKIPPED, "exit code 97: skipped, an input is missing" },
	{ 124, "exit code 124: the step's time limit was exceeded" },
	{ 126,
	  "exit code 126: the command cannot be executed (its mode, or the node was taken away)" },
	{ 127, "exit code 127: the command was not found on the node" },
	{ 130, "exit code 130: interrupted (SIGINT)" },
	{ 134, "exit code 134: the command aborted (SIGABRT)" },
	{ 135, "exit code 135: bus error (SIGBUS), often a full disk or a truncated file" },
	{ 136, "exit code 136: arithmetic error (SIGFPE)" },
	{ 137,
	  "exit code 137: killed (SIGKILL), likely out of memory; give the step more slots or a "
	  "larger node" },
	{ 139, "exit code 139: the command crashed (SIGSEGV)" },
	{ 141, "exit code 141: a pipe was closed early (SIGPIPE)" },
	{ 143, "exit code 143: ended from outside (SIGTERM)" },
	{ -9, "killed (SIGKILL), likely out of memory; give the step more slots or a larger node" },
};

void explain_exit(int code, char *out, size_t size)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(exits); i++) {
		if (exits[i].code == code) {
			snprintf(out, size, "%s", exits[i].text);
			return;
		}
	}
	if (code > 128 && code < 160)
		snprintf(out, size, "exit code %d: ended by signal %d", code, code - 128);
	else
		snprintf(out, size, "exit code %d: the command failed; its stderr.txt says why",
			 code);
}

static const struct {
	const char *code, *text;
} failures[] = {
	{ "CommandProgramNotFound", "the command's program is not on the node" },
	{ "CommandLaunchFailed", "the command could not be started on the node" },
	{ "BlobAccessDenied",
	  "the node may not read an input (expired access, or a storage firewall)" },
	{ "BlobNotFound", "an input blob is gone" },
	{ "BlobDownloadMiscError", "an input could not be downloaded" },
	{ "BlobDownloadTimedOut", "the download of an input timed out" },
	{ "ResourceContainerAccessDenied",
	  "the node may not list the container (expired access, or a storage firewall)" },
	{ "ResourceContainerNotFound", "the container is gone" },
	{ "DiskFull", "the node's disk is full; choose a larger node" },
	{ "FileUploadAccessDenied",
	  "computed, but the node may not write its outputs: its access has ended, or a storage "
	  "firewall keeps it out" },
	{ "FileUploadContainerNotFound",
	  "computed, but the container for the outputs is gone; make it again" },
	{ "FileUploadMiscError",
	  "computed, but an output could not be uploaded; fileuploaderr.txt says why, and a retry "
	  "runs the step again" },
	{ "ContainerInvalidImage",
	  "the container image is not valid; check its name in the pipeline" },
	{ "ContainerInvalidRegistry",
	  "the container registry cannot be reached or refuses the pool" },
	{ "TaskEnded", "the task was ended from outside" },
};

const char *explain_failure_code(const char *code)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(failures); i++)
		if (strcasecmp(failures[i].code, code) == 0)
			return failures[i].text;
	return NULL;
}
