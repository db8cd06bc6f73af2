/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The command channel between `lodge run -- COMMAND` and the guest's init: frames both ways.
 *
 * A frame is 4 bytes of header and up to EXEC_PAYLOAD_MAX bytes of payload. The channel is the
 * virtio port EXEC_PORT_NAME where the guest has the driver, else the second serial port. It may
 * carry noise before the guest's first frame (a boot loader, a console), so the magic byte is
 * looked for, and the checksum byte makes a chance hit unlikely.
 */
#ifndef VMM_EXEC_WIRE_H
#define VMM_EXEC_WIRE_H

#define EXEC_PORT_NAME "org.lodge.exec"
#define EXEC_MAGIC 0xb5
#define EXEC_HEADER 5
#define EXEC_PAYLOAD_MAX 1024

/* byte 0 magic, 1 type, 2-3 length (little-endian), 4 = ~(type + length bytes) */
enum exec_type {
	EXEC_HELLO = 1,		/* guest: ready for input */
	EXEC_STDOUT = 2,
	EXEC_STDERR = 3,
	EXEC_STATUS = 4,	/* guest: one byte, the exit status; it waits for EXEC_ACK then */
	EXEC_STDIN = 5,		/* host; length 0 is the end of input */
	EXEC_MESSAGE = 6,	/* guest: why the command could not be run */
	EXEC_ACK = 7,		/* host: the status has arrived; the guest may power off. Without
				 * it a reset of the device at power-off may overtake the status. */
};

#endif
