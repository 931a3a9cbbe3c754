/* An SQLite VFS that hands everything on to the one of the system and counts the writes. One thread uses it. */
#include "orchestrator/fault_db.h"

#include <stdlib.h>
#include <string.h>
#include <sqlite3.h>
#include "base/fault.h"

typedef struct {
    sqlite3_file base;
    sqlite3_file *real; /* lies behind this struct */
} layer;

static sqlite3_vfs *system_vfs, own;
static sqlite3_io_methods methods;
static avs_fault_kind kind;
static int64_t left;

static sqlite3_file *real(sqlite3_file *f)
{
    return ((layer *)(void *)f)->real;
}

/* Whether this write fails now. */
static int verdict(void)
{
    if (left-- > 0) return SQLITE_OK;
    return kind == AVS_FAULT_EIO ? SQLITE_IOERR_WRITE : SQLITE_FULL;
}

static int x_close(sqlite3_file *f)
{
    return real(f)->pMethods ? real(f)->pMethods->xClose(real(f)) : SQLITE_OK;
}
static int x_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return real(f)->pMethods->xRead(real(f), p, n, at);
}
static int x_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    const int rc = verdict();
    return rc == SQLITE_OK ? real(f)->pMethods->xWrite(real(f), p, n, at) : rc;
}
static int x_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    return real(f)->pMethods->xTruncate(real(f), n);
}
static int x_sync(sqlite3_file *f, int flags)
{
    if (left <= 0 && kind == AVS_FAULT_EIO) return SQLITE_IOERR_FSYNC;
    return real(f)->pMethods->xSync(real(f), flags);
}
static int x_size(sqlite3_file *f, sqlite3_int64 *n)
{
    return real(f)->pMethods->xFileSize(real(f), n);
}
static int x_lock(sqlite3_file *f, int how)
{
    return real(f)->pMethods->xLock(real(f), how);
}
static int x_unlock(sqlite3_file *f, int how)
{
    return real(f)->pMethods->xUnlock(real(f), how);
}
static int x_reserved(sqlite3_file *f, int *out)
{
    return real(f)->pMethods->xCheckReservedLock(real(f), out);
}
static int x_control(sqlite3_file *f, int op, void *arg)
{
    return real(f)->pMethods->xFileControl(real(f), op, arg);
}
static int x_sector(sqlite3_file *f)
{
    return real(f)->pMethods->xSectorSize(real(f));
}
static int x_traits(sqlite3_file *f)
{
    return real(f)->pMethods->xDeviceCharacteristics(real(f));
}
static int x_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return real(f)->pMethods->xShmMap(real(f), page, size, extend, out);
}
static int x_shm_lock(sqlite3_file *f, int offset, int n, int flags)
{
    return real(f)->pMethods->xShmLock(real(f), offset, n, flags);
}
static void x_barrier(sqlite3_file *f)
{
    real(f)->pMethods->xShmBarrier(real(f));
}
static int x_unmap(sqlite3_file *f, int drop)
{
    return real(f)->pMethods->xShmUnmap(real(f), drop);
}

static int x_open(sqlite3_vfs *v, const char *name, sqlite3_file *f, int flags, int *out)
{
    layer *l = (layer *)(void *)f;
    (void)v;
    l->real = (sqlite3_file *)(void *)(l + 1);
    const int rc = system_vfs->xOpen(system_vfs, name, l->real, flags, out);
    l->base.pMethods = l->real->pMethods ? &methods : NULL;
    return rc;
}

void avs_fault_db_install(void)
{
    kind = avs_fault_db(&left);
    system_vfs = kind == AVS_FAULT_NONE ? NULL : sqlite3_vfs_find(NULL);
    if (!system_vfs) return;
    methods = (sqlite3_io_methods){.iVersion = 2,
                                   .xClose = x_close,
                                   .xRead = x_read,
                                   .xWrite = x_write,
                                   .xTruncate = x_truncate,
                                   .xSync = x_sync,
                                   .xFileSize = x_size,
                                   .xLock = x_lock,
                                   .xUnlock = x_unlock,
                                   .xCheckReservedLock = x_reserved,
                                   .xFileControl = x_control,
                                   .xSectorSize = x_sector,
                                   .xDeviceCharacteristics = x_traits,
                                   .xShmMap = x_map,
                                   .xShmLock = x_shm_lock,
                                   .xShmBarrier = x_barrier,
                                   .xShmUnmap = x_unmap};
    own = *system_vfs;
    own.zName = "avsweep-fault";
    own.szOsFile = (int)sizeof(layer) + system_vfs->szOsFile;
    own.xOpen = x_open;
    (void)sqlite3_vfs_register(&own, 1);
}
