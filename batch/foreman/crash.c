/* foreman/crash.c - the process kills itself where a test wants it. */
#include "batch/foreman/crash.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

bool foreman_crash_wanted(const char *moment)
{
	const char *wanted = getenv("ADAFS_CRASH_AT");
	size_t len = strlen(moment);
	return wanted && strncmp(wanted, moment, len) == 0 && (!wanted[len] || wanted[len] == ':');
}

void foreman_crash_point(const char *moment)
{
	static atomic_ulong n_passed;
	if (!foreman_crash_wanted(moment))
		return;
	const char *nth = strchr(getenv("ADAFS_CRASH_AT"), ':');
	if (atomic_fetch_add(&n_passed, 1) + 1 >= (nth ? strtoul(nth + 1, NULL, 10) : 1))
		raise(SIGKILL);
}
