#include "conf/log.h"
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 2048
#define RECENT 16
#define RECENT_BYTES 512

struct recent_line {
	char text[RECENT_BYTES];
	long long when;
};

static atomic_int current_level = LOG_LEVEL_WARNING;
static atomic_bool use_syslog;

/* The ring of the last warnings and errors: next is where the following one goes. */
static pthread_mutex_t recent_lock = PTHREAD_MUTEX_INITIALIZER;
static struct recent_line recent[RECENT];
static size_t recent_next, recent_count;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&current_level, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

void log_to_syslog(void)
{
	openlog("vastfs", LOG_PID, LOG_DAEMON);
	atomic_store(&use_syslog, true);
}

static int syslog_priority(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR:
		return LOG_ERR;
	case LOG_LEVEL_WARNING:
		return LOG_WARNING;
	case LOG_LEVEL_INFO:
	case LOG_LEVEL_VERBOSE:
		return LOG_INFO;
	case LOG_LEVEL_DEBUG:
		break;
	}
	return LOG_DEBUG;
}

static void remember(const char *text)
{
	struct timespec now;
	struct recent_line *line;

	clock_gettime(CLOCK_REALTIME, &now);
	pthread_mutex_lock(&recent_lock);
	line = &recent[recent_next];
	snprintf(line->text, sizeof(line->text), "%s", text);
	line->when = (long long)now.tv_sec;
	recent_next = (recent_next + 1) % RECENT;
	if (recent_count < RECENT)
		recent_count++;
	pthread_mutex_unlock(&recent_lock);
}

/* One write(2) for the line, so that lines of several threads (and of ssh) don't mix. */
static void write_stderr(char *line, size_t len)
{
	ssize_t n;

	line[len++] = '\n';
	while (len > 0) {
		n = write(STDERR_FILENO, line, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		line += n;
		len -= (size_t)n;
	}
}

/* "vastfs: " and, for what only a developer reads, the seconds of the monotonic clock. */
static size_t put_prefix(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	int n;

	if (level >= LOG_LEVEL_VERBOSE) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		n = snprintf(line, size, "vastfs: %lld.%03ld ", (long long)now.tv_sec,
		    now.tv_nsec / 1000000);
	} else {
		n = snprintf(
		    line, size, level == LOG_LEVEL_WARNING ? "vastfs: warning: " : "vastfs: ");
	}
	return n > 0 ? (size_t)n : 0;
}

void log_write(enum log_level level, const char *format, ...)
{
	int saved_errno = errno;
	char line[LINE_MAX_BYTES + 1];
	size_t prefix, len;
	va_list ap;

	if (level > LOG_LEVEL_WARNING && !log_enabled(level))
		return;
	prefix = put_prefix(line, LINE_MAX_BYTES, level);
	va_start(ap, format);
	vsnprintf(line + prefix, LINE_MAX_BYTES - prefix, format, ap);
	va_end(ap);
	len = strlen(line);
	while (len > prefix && line[len - 1] == '\n')
		line[--len] = '\0';
	for (char *p = line + prefix; *p; p++) {
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	}
	/* Kept for `vastfs status` even where the level silences it. */
	if (level <= LOG_LEVEL_WARNING)
		remember(line + prefix);
	if (log_enabled(level)) {
		if (atomic_load(&use_syslog))
			syslog(syslog_priority(level), "%s", line + prefix);
		else
			write_stderr(line, len);
	}
	errno = saved_errno;
}

/*
 * The length of the UTF-8 character at p (2 to 4) when it is well formed and no C1 control; 0
 * otherwise. Overlong forms, surrogates and what lies beyond U+10FFFF are ill-formed.
 */
static size_t utf8_len(const unsigned char *p, size_t left)
{
	size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;

	if (p[0] < 0xc2 || p[0] > 0xf4 || n > left)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	}
	if (p[0] == 0xc2 && p[1] < 0xa0)
		return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0))
		return 0;
	if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

const char *log_printable(char *buf, size_t size, const char *text, size_t len)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t out = 0;

	if (size == 0)
		return buf;
	for (size_t i = 0; i < len;) {
		size_t n = p[i] < 0x80 ? 1 : utf8_len(p + i, len - i);

		if (out + (n ? n : 1) >= size)
			break;
		if (n > 1) {
			memcpy(buf + out, p + i, n);
			out += n;
			i += n;
			continue;
		}
		if (n == 0 || p[i] < 0x20 || p[i] == 0x7f)
			buf[out++] = p[i] == '\n' || p[i] == '\t' ? ' ' : '?';
		else
			buf[out++] = (char)p[i];
		i++;
	}
	buf[out] = '\0';
	return buf;
}

void log_recent(void (*each)(void *arg, const char *line, long long when), void *arg)
{
	pthread_mutex_lock(&recent_lock);
	for (size_t i = 0; i < recent_count; i++) {
		const struct recent_line *line = &recent[(recent_next + RECENT - 1 - i) % RECENT];

		each(arg, line->text, line->when);
	}
	pthread_mutex_unlock(&recent_lock);
}
