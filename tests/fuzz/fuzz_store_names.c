/* Listings as the disk cache keeps them: whatever lies there, entries are what a listing may hold.
 */
#include "cache/store_names.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct store_entries copy = {NULL, 0, 0};
	struct store_entry entry;
	size_t at = 0;
	int more;

	store_entries_check(data, size);
	while ((more = store_entries_next(data, size, &at, &entry)) > 0) {
		if (at > size || !entry.name[0] || strchr(entry.name, '/') ||
		    !strcmp(entry.name, ".") || !strcmp(entry.name, "..") ||
		    !(entry.report.mode & S_IFMT))
			abort();
		if (store_entries_add(&copy, entry.name, &entry.report))
			abort();
	}
	/* What was understood is the same when it is written again, but for the checksum. */
	if (!more && copy.len) {
		store_entries_seal(&copy);
		if (!store_entries_check(copy.bytes, copy.len) || copy.len != size)
			abort();
	}
	free(copy.bytes);
	return 0;
}
