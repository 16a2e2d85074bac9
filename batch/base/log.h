/* base/log.h - one line an event, level by component, secrets cut out in the sink. */
#ifndef ADAFS_BASE_LOG_H
#define ADAFS_BASE_LOG_H

#include <stdbool.h>

#include "batch/base/cleanup.h"
#include "batch/base/err.h"

enum adafs_log_level {
	ADAFS_LOG_ERROR,
	ADAFS_LOG_WARN,
	ADAFS_LOG_INFO,
	ADAFS_LOG_DEBUG,
};

/*
 * Log one line of a component ("azure", "fs", "foreman", "emulator", ...). errno is kept. Account
 * keys, SAS signatures and tokens are replaced by "REDACTED" before the line leaves the process.
 */
#define adafs_log(level, component, ...) adafs_log_write(ADAFS_LOG_##level, component, __VA_ARGS__)
void adafs_log_write(enum adafs_log_level level, const char *component, const char *fmt, ...)
	ADAFS_PRINTF(3, 4);
/* Whether a line of this level and component would be written: to skip costly arguments. */
bool adafs_log_enabled(enum adafs_log_level level, const char *component);

/*
 * Set levels from a text such as "info" or "azure:debug,fs:info". 0, or -EINVAL with the word that
 * is wrong. Call before threads start.
 */
int adafs_log_set_levels(const char *spec, struct adafs_err *reterr);
/* Send lines to syslog (a daemon) instead of stderr. */
void adafs_log_use_syslog(const char *ident);

/*
 * Cut secrets out of a text in place: values of sig=, AccountKey=, Authorization lines, Bearer and
 * SharedKey signatures. The result is never longer than the input. For error texts that leave the
 * process by other ways.
 */
void adafs_redact(char *text);

#endif
