/*
 * Round-trip times as they are measured: smoothed over the last few, and the least of the last half
 * to whole minute, unless a row of samples far above it says that the link is another one now (a
 * VPN, a move of the laptop). Microseconds; 0 before the first sample. Embedded, zero-initialised;
 * its owner's thread.
 */
#ifndef VASTFS_TRANSPORT_SFTP_RTT_H
#define VASTFS_TRANSPORT_SFTP_RTT_H

#include <stdbool.h>
#include <stdint.h>

struct sftp_rtt {
	uint32_t smooth;
	uint32_t least, least_before; /* of this window and of the one before */
	uint64_t window_ns;	      /* when this window began */
	uint32_t run, run_least; /* samples in a row that are far above, and the least of them */
	uint32_t data;		 /* how long the last data that was answered took */
	bool crowded;		 /* and that was several round trips */
};

/* now_ns and sent_ns on the same monotonic clock (uv_hrtime). */
void sftp_rtt_sample(struct sftp_rtt *rtt, uint64_t sent_ns, uint64_t now_ns);
/* Of a request whose answer waits for data. */
void sftp_rtt_data(struct sftp_rtt *rtt, uint64_t sent_ns, uint64_t now_ns);
uint32_t sftp_rtt_least(const struct sftp_rtt *rtt);

#endif
