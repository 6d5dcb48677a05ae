//! Who runs PostgreSQL: whoever started us, or, because PostgreSQL refuses root, an unprivileged user.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use hilo_kit::error::Error;

use super::folder::unusable;

/// Capabilities that let a process pass folders it may not enter (capabilities(7)), with their bits; the weaker first.
const SEARCHING: [(&str, u32); 2] = [("dac_read_search", 2), ("dac_override", 1)];

/// The user that the server runs as.
#[derive(Debug)]
pub enum Account {
    /// Whoever started us.
    Ourselves,
    /// An unprivileged user.
    Other {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
        /// Set when the data lies below a folder that this user may not enter, as under `/root`: this one capability
        /// goes with it then.
        capability: Option<&'static str>,
    },
}

impl Account {
    /// Chooses the user for data in `folder`: the one who owns what is there already, else `postgres`, else `nobody`.
    ///
    /// # Errors
    /// `NO_UNPRIVILEGED_USER`, or `FOLDER_NOT_ENTERABLE` when that user could not reach the folder.
    pub fn choose(folder: &Path) -> Result<Self, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let (uid, gid) = owner_of(&folder.join("data")).map_or_else(unprivileged_user, Ok)?;
        let capability = match closed_parent(folder) {
            None => None,
            Some(closed) => Some(searching_capability().ok_or_else(|| {
                let closed = closed.display();
                let text = format!(
                    "PostgreSQL does not run as root, and user {uid} may not enter {closed}; move the repository, use \
                     --data ELSEWHERE, or allow it: chmod o+x {closed}"
                );
                Error::unavailable("FOLDER_NOT_ENTERABLE", text)
            })?),
        };
        Ok(Self::Other { uid, gid, capability })
    }

    /// Arguments for `setpriv` that turn root into this user.
    pub fn privileges(&self) -> Vec<OsString> {
        let Self::Other { uid, gid, capability } = self else { return Vec::new() };
        let mut arguments: Vec<OsString> =
            vec![format!("--reuid={uid}").into(), format!("--regid={gid}").into(), "--clear-groups".into()];
        if let Some(capability) = capability {
            arguments.push(format!("--inh-caps=-all,+{capability}").into());
            arguments.push(format!("--ambient-caps=-all,+{capability}").into());
        }
        arguments
    }

    /// Makes a file or folder this user's.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn give(&self, path: &Path) -> Result<(), Error> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid, .. } => {
                chown(path, Some(*uid), Some(*gid)).map_err(|error| unusable(path, error))
            }
        }
    }
}

/// Owner of an existing data folder, unless that is root.
fn owner_of(data: &Path) -> Option<(u32, u32)> {
    let meta = fs::metadata(data).ok()?;
    (meta.uid() != 0).then_some((meta.uid(), meta.gid()))
}

fn unprivileged_user() -> Result<(u32, u32), Error> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    ["postgres", "nobody"].into_iter().find_map(|name| ids_of(&users, name)).ok_or_else(|| {
        let text = "PostgreSQL does not run as root, and there is no user postgres or nobody to run it as";
        Error::unavailable("NO_UNPRIVILEGED_USER", text)
    })
}

fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The first folder above that not everybody may enter.
fn closed_parent(folder: &Path) -> Option<&Path> {
    let closed =
        |parent: &&Path| fs::metadata(parent).is_ok_and(|meta| meta.permissions().mode() & 0o001 == 0);
    folder.ancestors().skip(1).find(closed)
}

/// A capability of [`SEARCHING`] that this process may still hand on (containers take some away).
fn searching_capability() -> Option<&'static str> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    let bits = u64::from_str_radix(bounding.trim(), 16).ok()?;
    SEARCHING.into_iter().find(|(_, bit)| bits & (1 << bit) != 0).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_the_user_table() {
        let users = "root:x:0:0:root:/root:/bin/bash\npostgres:x:105:110:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(ids_of(users, "postgres"), Some((105, 110)));
        assert_eq!(ids_of(users, "nobody"), None);
    }

    #[test]
    fn a_folder_that_others_may_not_enter_is_found() {
        let open = tempfile::tempdir().unwrap();
        let inner = open.path().join("inner/data");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(closed_parent(&inner), None);
        fs::set_permissions(open.path(), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(closed_parent(&inner), Some(open.path()));
    }
}
