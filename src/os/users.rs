//! Users and groups by name or number.

use std::ffi::{CString, OsString};

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, getgrouplist};

use crate::os::spawn::Credentials;

/// Why a user or a group cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Nobody of that name.
    #[error("cannot find the user {0:?}")]
    NoUser(String),
    /// No group of that name.
    #[error("cannot find the group {0:?}")]
    NoGroup(String),
    /// A number that the user database does not know has no main group.
    #[error("cannot find the main group of user {0}; name a group")]
    NoMainGroup(u32),
    /// The database cannot be read.
    #[error("cannot look up {name:?}: {source}")]
    Lookup {
        /// Who was looked up.
        name: String,
        /// Why not.
        source: Errno,
    },
}

impl UserError {
    /// The kernel's number for it; `ENOENT` for what is unknown.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoUser(_) | Self::NoGroup(_) | Self::NoMainGroup(_) => libc::ENOENT,
            Self::Lookup { source, .. } => *source as i32,
        }
    }
}

/// Whether we may become anybody.
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Who a process is to run as: `user` with its groups, and `group` instead of its main group if given. None when that
/// is who we are, and when neither is given.
///
/// # Errors
/// [`UserError`] when there is no such user or group.
pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Credentials>, UserError> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let (uid, entry) = match user {
        Some(name) => find_user(name)?,
        None => (geteuid(), lookup("our own user", User::from_uid(geteuid()))?),
    };
    let gid = match (group, &entry, user) {
        (Some(name), _, _) => find_group(name)?,
        (None, Some(entry), _) => entry.gid,
        (None, None, _) => return Err(UserError::NoMainGroup(uid.as_raw())),
    };
    if !is_root() && (uid, gid) == (geteuid(), getegid()) {
        return Ok(None);
    }
    let groups = match entry {
        Some(entry) => groups_of(&entry.name, gid)?,
        None => vec![gid],
    };
    let groups = groups.into_iter().map(Gid::as_raw).collect();
    Ok(Some(Credentials { uid: uid.as_raw(), gid: gid.as_raw(), groups }))
}

/// The variables that say who somebody is, for a program that runs as `user`: `HOME`, `USER` and `LOGNAME` as the user
/// database has them; none for a number that it does not know.
pub fn variables(user: &str) -> Vec<(&'static str, OsString)> {
    let entry = find_user(user).ok().and_then(|(_, entry)| entry);
    let Some(entry) = entry else { return Vec::new() };
    vec![("HOME", entry.dir.into()), ("USER", entry.name.clone().into()), ("LOGNAME", entry.name.into())]
}

/// The numbers of these users and groups, in their order.
///
/// # Errors
/// [`UserError`] for the first that does not exist.
pub fn numbers(users: &[String], groups: &[String]) -> Result<(Vec<u32>, Vec<u32>), UserError> {
    let users = users.iter().map(|name| Ok(find_user(name)?.0.as_raw())).collect::<Result<_, UserError>>()?;
    let groups = groups.iter().map(|name| Ok(find_group(name)?.as_raw())).collect::<Result<_, UserError>>()?;
    Ok((users, groups))
}

fn find_user(name: &str) -> Result<(Uid, Option<User>), UserError> {
    if let Some(entry) = lookup(name, User::from_name(name))? {
        return Ok((entry.uid, Some(entry)));
    }
    let uid = Uid::from_raw(number(name).ok_or_else(|| UserError::NoUser(name.to_owned()))?);
    Ok((uid, lookup(name, User::from_uid(uid))?))
}

fn find_group(name: &str) -> Result<Gid, UserError> {
    if let Some(entry) = lookup(name, Group::from_name(name))? {
        return Ok(entry.gid);
    }
    number(name).map(Gid::from_raw).ok_or_else(|| UserError::NoGroup(name.to_owned()))
}

/// The highest number means "leave it as it is" to the kernel, so it is nobody's.
fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number != u32::MAX)
}

/// The database says "unknown" in more than one way.
fn lookup<T>(name: &str, found: nix::Result<Option<T>>) -> Result<Option<T>, UserError> {
    match found {
        Ok(found) => Ok(found),
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM | Errno::EINVAL) => Ok(None),
        Err(source) => Err(UserError::Lookup { name: name.to_owned(), source }),
    }
}

fn groups_of(name: &str, gid: Gid) -> Result<Vec<Gid>, UserError> {
    let unknown = |_| UserError::NoUser(name.to_owned());
    let text = CString::new(name).map_err(unknown)?;
    getgrouplist(&text, gid).map_err(|source| UserError::Lookup { name: name.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_found_by_name_and_number() {
        for (user, group) in [("root", None), ("0", None), ("root", Some("root")), ("0", Some("0"))] {
            let found = resolve(Some(user), group).unwrap();
            match found {
                Some(found) => assert_eq!((found.uid, found.gid), (0, 0), "{user}"),
                // We are root's equal already, without being able to become anybody.
                None => assert!(!is_root()),
            }
        }
        assert_eq!(
            numbers(&["root".to_owned(), "4242".to_owned()], &["0".to_owned()]).unwrap(),
            (vec![0, 4242], vec![0])
        );
    }

    #[test]
    fn nobody_asked_for_is_nobody_changed() {
        assert_eq!(resolve(None, None).unwrap(), None);
        if !is_root() {
            let (uid, gid) = (geteuid().to_string(), getegid().to_string());
            assert_eq!(resolve(Some(&uid), Some(&gid)).unwrap(), None);
        }
    }

    #[test]
    fn a_person_has_a_name_and_a_home() {
        let root = User::from_uid(Uid::from_raw(0)).unwrap().unwrap();
        for user in ["root", "0"] {
            let expected = [("HOME", root.dir.clone().into()), ("USER", "root".into()), ("LOGNAME", "root".into())];
            assert_eq!(variables(user), expected);
        }
        assert!(variables("3999999999").is_empty() && variables("no-such-user-here").is_empty());
    }

    #[test]
    fn numbers_unknown_to_the_database_need_a_group() {
        let strange = "3999999999";
        let found = resolve(Some(strange), Some("54321")).unwrap().unwrap();
        assert_eq!(found, Credentials { uid: 3_999_999_999, gid: 54_321, groups: vec![54_321] });
        assert!(matches!(resolve(Some(strange), None), Err(UserError::NoMainGroup(3_999_999_999))));
    }

    #[test]
    fn a_group_alone_keeps_the_user() {
        let found = resolve(None, Some("54321")).unwrap().unwrap();
        assert_eq!((found.uid, found.gid), (geteuid().as_raw(), 54_321));
        assert!(found.groups.contains(&54_321));
    }

    #[test]
    fn what_is_unknown_is_said() {
        for name in ["no-such-user-here", "", "-1", "+5", "4294967295", "4294967296", "a\0b", "1 2"] {
            let user = resolve(Some(name), None).unwrap_err();
            let group = resolve(None, Some(name)).unwrap_err();
            assert!(
                matches!((&user, &group), (UserError::NoUser(_), UserError::NoGroup(_))),
                "{name:?}: {user}, {group}"
            );
            assert_eq!((user.errno(), group.errno()), (libc::ENOENT, libc::ENOENT));
            assert!(user.to_string().starts_with("cannot find the user"));
            assert!(numbers(&[name.to_owned()], &[]).is_err() && numbers(&[], &[name.to_owned()]).is_err());
        }
    }
}
