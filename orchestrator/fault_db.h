/* A layer below SQLite whose writes fail on request (base/fault.h), so that the error takes the very way of a real one. */
#ifndef AVS_ORCHESTRATOR_FAULT_DB_H
#define AVS_ORCHESTRATOR_FAULT_DB_H

/* Puts the layer in place if AVSWEEP_FAULT asks for it; before the first database is opened. */
void avs_fault_db_install(void);

#endif
