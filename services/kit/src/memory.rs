//! Keeps freed memory from staying with the process.

/// Largest allocation taken from the heap; larger ones are mapped and go back to the system when freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MMAP_THRESHOLD: libc::c_int = 512 * 1024;
/// Heaps of threads; glibc makes up to eight per core, each of which keeps what it once needed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const MAX_ARENAS: libc::c_int = 2;

/// Fixes two limits of glibc's allocator (mallopt(3)). Left alone it raises the threshold to the largest block ever freed, so
/// that one password hash (19 MiB) stays resident for ever. Call it before threads start; elsewhere it does nothing.
pub(crate) fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        #[expect(unsafe_code, reason = "mallopt has no safe wrapper; it takes two integers and no pointer")]
        // SAFETY: called at the start of main, before other threads allocate; it only sets tunables.
        let accepted = unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD)
                & libc::mallopt(libc::M_ARENA_MAX, MAX_ARENAS)
        };
        debug_assert_eq!(accepted, 1, "both are documented tunables");
    }
}
