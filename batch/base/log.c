/*
 * base/log.c - the sink of the log. Levels are set before threads start; a line is redacted,
 * written by one call, and leaves errno as it was.
 */
#include "batch/base/log.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <syslog.h>
#include <time.h>

#define MAX_COMPONENTS 16

static const char *const level_names[] = { "error", "warn", "info", "debug" };
static const int syslog_levels[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Written before threads start, read by all of them afterwards. */
static struct {
	enum adafs_log_level level;
	struct {
		char name[24];
		enum adafs_log_level level;
	} component[MAX_COMPONENTS];
	size_t n_components;
	bool to_syslog;
} config = { .level = ADAFS_LOG_WARN };

static int level_parse(const char *word, size_t len)
{
	for (size_t i = 0; i < ADAFS_ARRAY_SIZE(level_names); i++)
		if (strlen(level_names[i]) == len && strncasecmp(level_names[i], word, len) == 0)
			return (int)i;
	if (len == 7 && strncasecmp(word, "warning", len) == 0)
		return ADAFS_LOG_WARN;
	return -1;
}

int adafs_log_set_levels(const char *spec, struct adafs_err *reterr)
{
	for (const char *p = spec; *p;) {
		size_t len = strcspn(p, ",");
		const char *colon = memchr(p, ':', len);
		const char *word = colon ? colon + 1 : p;
		int level = level_parse(word, len - (size_t)(word - p));
		if (level < 0)
			return adafs_err_set(
				reterr, -EINVAL,
				"log level '%.*s' is unknown: use error, warn, info or debug",
				(int)(len - (size_t)(word - p)), word);
		if (!colon) {
			config.level = (enum adafs_log_level)level;
		} else {
			if (config.n_components == MAX_COMPONENTS)
				return adafs_err_set(reterr, -EINVAL,
						     "more than %d components in log_level",
						     MAX_COMPONENTS);
			size_t i = config.n_components++;
			snprintf(config.component[i].name, sizeof(config.component[i].name), "%.*s",
				 (int)(colon - p), p);
			config.component[i].level = (enum adafs_log_level)level;
		}
		p += len;
		p += *p == ',';
	}
	return 0;
}

void adafs_log_use_syslog(const char *ident)
{
	openlog(ident, LOG_PID, LOG_DAEMON);
	config.to_syslog = true;
}

bool adafs_log_enabled(enum adafs_log_level level, const char *component)
{
	for (size_t i = 0; i < config.n_components; i++)
		if (strcmp(config.component[i].name, component) == 0)
			return level <= config.component[i].level;
	return level <= config.level;
}

/* Ends of a secret's value in URLs, headers, connection strings and JSON. */
static size_t secret_len(const char *s)
{
	return strcspn(s, "& \t\r\n;\"'<>,\\");
}

void adafs_redact(char *text)
{
	static const char *const marks[] = { "sig=",
					     "sig%3D",
					     "AccountKey=",
					     "Bearer ",
					     "SharedKey ",
					     "access_token\":\"",
					     "SharedAccessSignature=" };
	static const char word[] = "REDACTED";
	for (size_t m = 0; m < ADAFS_ARRAY_SIZE(marks); m++) {
		char *p = text;
		while ((p = strcasestr(p, marks[m]))) {
			p += strlen(marks[m]);
			size_t len = secret_len(p);
			/* A secret shorter than the word is cut to its length: the text never
			 * grows. */
			size_t put = len < sizeof(word) - 1 ? len : sizeof(word) - 1;
			memcpy(p, word, put);
			memmove(p + put, p + len, strlen(p + len) + 1);
			p += put;
		}
	}
}

void adafs_log_write(enum adafs_log_level level, const char *component, const char *fmt, ...)
{
	int saved = errno;
	if (!adafs_log_enabled(level, component))
		return;
	char line[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	adafs_redact(line);
	for (char *p = line; *p; p++)
		if (iscntrl((unsigned char)*p))
			*p = ' ';
	if (config.to_syslog) {
		syslog(syslog_levels[level], "%s: %s", component, line);
	} else {
		struct timespec ts;
		struct tm tm;
		clock_gettime(CLOCK_REALTIME, &ts);
		gmtime_r(&ts.tv_sec, &tm);
		fprintf(stderr, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s: %s\n",
			tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			tm.tm_sec, ts.tv_nsec / 1000000, level_names[level], component, line);
	}
	errno = saved;
}
