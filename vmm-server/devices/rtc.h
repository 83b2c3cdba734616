/* MC146818 real-time clock and CMOS memory. The model's contract is at the head of rtc.c. */
#ifndef VMM_DEVICES_RTC_H
#define VMM_DEVICES_RTC_H

#include "device.h"
#include "devices/rate.h"

#define RTC_BYTES 128u

/* Bytes of CMOS that a PC's firmware reads. */
enum rtc_byte {
    RTC_SHUTDOWN_STATUS = 0x0f,
    RTC_FLOPPY_TYPES = 0x10,
    RTC_EQUIPMENT = 0x14,
    RTC_CPU_COUNT = 0x5f, /* without the first */
};

struct rtc {
    struct device_host *host;
    struct interrupt_line *line;
    struct rate rate; /* 32768 Hz */
    uint8_t index;
    uint8_t cmos[RTC_BYTES]; /* registers of time are in it only while they are being set */
    /* The time is `seconds` when the divider chain stands at `since` (32768ths). */
    uint64_t seconds, since;
    uint64_t epoch_tsc;
    uint8_t weekday_shift;   /* what the guest says, less what the date says */
    uint64_t settled_second; /* up to here updates and alarms are in register C */
    uint64_t settled_period; /* and periodic interrupts */
    uint32_t owed;           /* periodic interrupts that have passed and were not given */
    struct device_timer timer;
};

/* The clock shows `seconds` since 1970 (UTC). */
void rtc_init(struct rtc *rtc, struct device_host *host, struct interrupt_line *line,
              uint64_t seconds);
bool rtc_attach(struct rtc *rtc, struct bus *ports);
/* As firmware would find it: memory sizes where firmware looks for them. */
void rtc_set_memory(struct rtc *rtc, uint64_t below_4g, uint64_t above_4g);
void rtc_set_byte(struct rtc *rtc, unsigned index, uint8_t value);
uint8_t rtc_byte(const struct rtc *rtc, unsigned index);
void rtc_dump(struct rtc *rtc, struct sink *sink);

#endif
