/*
 * What the daemon says about itself: to standard error while in the foreground, to syslog(3)
 * (facility daemon, ident "vastfs") once it is in the background.
 *
 * Any thread may log; lines are written whole. Server-sent text must be passed through
 * log_printable() first, so that it can't forge lines or drive a terminal.
 */
#ifndef VASTFS_CONF_LOG_H
#define VASTFS_CONF_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level {
	LOG_LEVEL_ERROR,   /* something was lost or refused */
	LOG_LEVEL_WARNING, /* something the user should know; the default level */
	LOG_LEVEL_INFO,	   /* -v: what the connection does */
	LOG_LEVEL_VERBOSE, /* -vv: each SSH step, each SFTP version and extension */
	LOG_LEVEL_DEBUG,   /* -d: each FUSE request and SFTP request */
};

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/* From now on lines go to syslog (background) instead of standard error. */
void log_to_syslog(void);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_verbose(...) log_write(LOG_LEVEL_VERBOSE, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_enabled(LOG_LEVEL_DEBUG))                                                  \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                   \
	} while (0)

/* Copies at most size-1 bytes of text into buf with control characters replaced; returns buf. */
const char *log_printable(char *buf, size_t size, const char *text, size_t len);

/* The last warnings and errors (for `vastfs status`): calls back newest first, at most 16, with
 * the line and its time (seconds since 1970). The lock is held meanwhile: do not log inside. */
void log_recent(void (*each)(void *arg, const char *line, long long when), void *arg);

#endif
