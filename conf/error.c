#include "conf/error.h"
#include <stdarg.h>
#include <stdio.h>

int conf_fail(struct conf_error *error, int err, const char *format, ...)
{
	va_list ap;

	if (!error)
		return -err;
	va_start(ap, format);
	vsnprintf(error->text, sizeof(error->text), format, ap);
	va_end(ap);
	/* The text quotes what the user's file or command line held: keep it one harmless line. */
	for (unsigned char *p = (unsigned char *)error->text; *p; p++) {
		if (*p < 0x20 || *p == 0x7f)
			*p = '?';
	}
	return -err;
}
