/* foreman/crash.c - the process kills itself where a test wants it. */
#include "batch/foreman/crash.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

bool foreman_crash_wanted(const char *moment)
{
	const char *wanted = getenv("ADAFS_CRASH_AT");
	return wanted && strcmp(wanted, moment) == 0;
}

void foreman_crash_point(const char *moment)
{
	if (foreman_crash_wanted(moment))
		raise(SIGKILL);
}
