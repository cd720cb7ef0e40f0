//! Users and groups by name or number.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist};

use crate::os::spawn::Credentials;

/// Why a user or group cannot be run as.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// The user database does not know it.
    #[error("cannot find the user {0:?}")]
    NoSuchUser(String),
    /// The group database does not know it.
    #[error("cannot find the group {0:?}")]
    NoSuchGroup(String),
    /// A bare number that is in no database has no main group.
    #[error("cannot tell the group of user {0}, which has no entry in the user database: set `group` too")]
    NoGroup(u32),
    /// A database did not answer.
    #[error("cannot look {name:?} up")]
    Lookup {
        /// What was looked up.
        name: String,
        /// The database's answer.
        source: nix::Error,
    },
}

impl UserError {
    /// The error number that says it best.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoSuchUser(_) | Self::NoSuchGroup(_) | Self::NoGroup(_) => libc::ENOENT,
            Self::Lookup { source, .. } => *source as i32,
        }
    }
}

/// Who a process runs as that is to run as `user` (none: as we do) and `group` (none: the user's); names or numbers.
/// None: exactly as we do, which needs no change.
///
/// # Errors
/// [`UserError`].
pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Credentials>, UserError> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let group = group.map(find_group).transpose()?;
    let (uid, entry) = match user {
        None => (geteuid(), User::from_uid(geteuid()).ok().flatten()),
        Some(user) => find_user(user)?,
    };
    let main = match (group, &entry) {
        (Some(group), _) => group,
        (None, Some(entry)) => entry.gid,
        (None, None) => return Err(UserError::NoGroup(uid.as_raw())),
    };
    if !geteuid().is_root() && uid == geteuid() && main == getegid() {
        return Ok(None);
    }
    let supplementary = entry
        .and_then(|entry| CString::new(entry.name).ok())
        .and_then(|name| getgrouplist(&name, main).ok())
        .unwrap_or_else(|| vec![main]);
    let groups = supplementary.into_iter().map(Gid::as_raw).collect();
    Ok(Some(Credentials { uid: uid.as_raw(), gid: main.as_raw(), groups }))
}

/// The user's number, and its entry in the database, which a bare number need not have.
fn find_user(name: &str) -> Result<(Uid, Option<User>), UserError> {
    let lookup = |source| UserError::Lookup { name: name.to_owned(), source };
    if let Some(user) = User::from_name(name).map_err(lookup)? {
        return Ok((user.uid, Some(user)));
    }
    let uid = name.parse().map(Uid::from_raw).map_err(|_| UserError::NoSuchUser(name.to_owned()))?;
    Ok((uid, User::from_uid(uid).map_err(lookup)?))
}

fn find_group(name: &str) -> Result<Gid, UserError> {
    let found = Group::from_name(name).map_err(|source| UserError::Lookup { name: name.to_owned(), source })?;
    match found {
        Some(group) => Ok(group.gid),
        None => name.parse().map(Gid::from_raw).map_err(|_| UserError::NoSuchGroup(name.to_owned())),
    }
}

/// The number of a user, for those who may talk to the control socket.
///
/// # Errors
/// [`UserError`].
pub fn user_id(name: &str) -> Result<u32, UserError> {
    find_user(name).map(|(uid, _)| uid.as_raw())
}

/// The number of a group, for those who may talk to the control socket.
///
/// # Errors
/// [`UserError`].
pub fn group_id(name: &str) -> Result<u32, UserError> {
    find_group(name).map(Gid::as_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_named_means_nothing_changes() {
        assert_eq!(resolve(None, None), Ok(None));
    }

    #[test]
    fn users_and_groups_go_by_name_and_by_number() {
        // Every Linux has root, and its group 0.
        for (user, group) in [(Some("root"), None), (Some("0"), None), (Some("root"), Some("0"))] {
            match resolve(user, group) {
                Ok(Some(credentials)) => assert_eq!((credentials.uid, credentials.gid), (0, 0)),
                other => panic!("{user:?} {group:?}: {other:?}"),
            }
        }
        let number = resolve(Some("3999999"), Some("3999998")).unwrap().unwrap();
        assert_eq!(number, Credentials { uid: 3_999_999, gid: 3_999_998, groups: vec![3_999_998] });
    }

    #[test]
    fn the_unknown_is_named() {
        let unknown = "no-such-name-anywhere";
        assert_eq!(resolve(Some(unknown), None), Err(UserError::NoSuchUser(unknown.to_owned())));
        assert_eq!(resolve(Some("root"), Some(unknown)), Err(UserError::NoSuchGroup(unknown.to_owned())));
        assert_eq!(resolve(Some("3999999"), None), Err(UserError::NoGroup(3_999_999)));
        assert_eq!(resolve(Some("-1"), None).unwrap_err().errno(), libc::ENOENT);
    }
}
