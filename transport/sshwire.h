/*
 * The SSH wire form (RFC 4251, section 5) as it stands in key files and agents' messages: a cursor
 * that never leaves its bytes, and a buffer of fixed size that never overflows. Any thread.
 */
#ifndef VASTFS_TRANSPORT_SSHWIRE_H
#define VASTFS_TRANSPORT_SSHWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes that belong to somebody else. */
struct span {
	const uint8_t *data;
	size_t len;
};

static inline bool span_is(struct span span, const char *text)
{
	return span.len == strlen(text) && !memcmp(span.data, text, span.len);
}

/* Takes from the front of *from; false, and nothing taken, when there is too little. */
static inline bool wire_get_u32(struct span *from, uint32_t *value)
{
	if (from->len < 4)
		return false;
	*value = (uint32_t)from->data[0] << 24 | (uint32_t)from->data[1] << 16 |
		 (uint32_t)from->data[2] << 8 | from->data[3];
	from->data += 4;
	from->len -= 4;
	return true;
}

static inline bool wire_get_string(struct span *from, struct span *out)
{
	struct span rest = *from;
	uint32_t len;

	if (!wire_get_u32(&rest, &len) || len > rest.len)
		return false;
	*out = (struct span){rest.data, len};
	*from = (struct span){rest.data + len, rest.len - len};
	return true;
}

/* What is written: bytes[0] … bytes[len - 1]. full: something did not fit, nor did what followed.
 */
struct wire {
	uint8_t *bytes;
	size_t size, len;
	bool full;
};

static inline void wire_put(struct wire *wire, const void *data, size_t len)
{
	if (wire->full || len > wire->size - wire->len) {
		wire->full = true;
		return;
	}
	if (len)
		memcpy(wire->bytes + wire->len, data, len);
	wire->len += len;
}

static inline void wire_put_u32(struct wire *wire, uint32_t value)
{
	const uint8_t bytes[4] = {
	    (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};

	wire_put(wire, bytes, sizeof(bytes));
}

static inline void wire_put_string(struct wire *wire, const void *data, size_t len)
{
	wire_put_u32(wire, (uint32_t)len);
	wire_put(wire, data, len);
}

#endif
