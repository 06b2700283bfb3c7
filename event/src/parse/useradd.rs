//! What the programs of the shadow suite say when accounts and groups are made, changed and removed: useradd, userdel, usermod,
//! groupadd, groupdel, groupmod, gpasswd, passwd, chpasswd, chage, chfn, chsh.
//!
//! `user_target` is the account that is acted upon, `group` the group, `user` who did it where the line says so.
//! Limits: those of the record.

use super::fields::Fields;

/// Reads a message of one of these programs.
pub(super) fn parse<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    const READERS: [for<'t> fn(&'t str, &mut Fields<'t>) -> Option<()>; 7] =
        [created, failed, member, changed_user, removed, changed, gpasswd];
    READERS.iter().find_map(|reader| reader(message, fields))
}

/// `new user: name=ana, UID=1001, ...`, `new group: name=ana, GID=1001`, `group added to /etc/group: name=ana, GID=1001`
fn created<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (kind, pairs) = message.split_once(": ")?;
    let (action, named) = match kind {
        "new user" => ("user_add", "user_target"),
        "new group" => ("group_add", "group"),
        _ if kind.starts_with("group added to ") => ("group_add", "group"),
        _ => return None,
    };
    fields.action(action, "success");
    for (name, value) in pairs.split(", ").filter_map(|pair| pair.split_once('=')) {
        match name {
            "name" => fields.text(named, value),
            "UID" => fields.text("uid", value),
            "GID" => fields.text("gid", value),
            "home" => fields.text("home", value),
            "shell" => fields.text("shell", value),
            "from" => fields.text("tty", value),
            _ => {}
        }
    }
    Some(())
}

/// `failed adding user 'ana', data deleted`, `failed adding group 'x', ...`
fn failed<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let rest = message.strip_prefix("failed ")?;
    let (action, named) = match rest.split_once(" '")?.0 {
        "adding user" => ("user_add", "user_target"),
        "adding group" => ("group_add", "group"),
        "deleting user" | "deleting user entry" => ("user_delete", "user_target"),
        _ => return None,
    };
    let (name, rest) = quoted(rest)?;
    fields.action(action, "failure");
    fields.text(named, name);
    fields.text_unless_empty("reason", rest.trim_start_matches([',', ' ']));
    Some(())
}

/// `add 'ana' to [shadow ]group 'sudo'`, `delete 'ana' from [shadow ]group 'sudo'`
fn member<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (action, rest) = match message.strip_prefix("add '") {
        Some(rest) => ("group_member_add", rest),
        None => ("group_member_remove", message.strip_prefix("delete '")?),
    };
    let (user, rest) = rest.split_once('\'')?;
    let (group, _) = quoted(rest).filter(|_| rest.contains("group"))?;
    fields.action(action, "success");
    fields.text("user_target", user);
    fields.text("group", group);
    Some(())
}

/// `change user 'ana' shell from '/bin/sh' to '/bin/bash'`, `change user name 'ana' to 'eve'`,
/// `lock user 'ana' password`, `changed user 'ana' information`
fn changed_user<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (verb, rest) = message.split_once(" user ")?;
    let action = match verb {
        "lock" => "user_lock",
        "unlock" => "user_unlock",
        "change" | "changed" => "user_modify",
        _ => return None,
    };
    let renamed = rest.starts_with("name ");
    let (user, rest) = quoted(rest)?;
    let rest = rest.trim_ascii_start();
    let attribute = if renamed { "name" } else { rest.split(' ').next()? };
    fields.action(
        if attribute == "password" && action == "user_modify" { "password_change" } else { action },
        "success",
    );
    fields.text("user_target", user);
    fields.text_unless_empty("attribute", attribute);
    if let Some((_, old)) = rest.split_once("from '") {
        fields.text("old", old.split_once('\'')?.0);
    }
    if let Some((_, new)) = rest.split_once("to '") {
        fields.text("new", new.split_once('\'')?.0);
    }
    Some(())
}

/// `delete user 'ana'`, `removed [shadow ]group 'ana' owned by 'ana'`, `group 'x' removed[ from /etc/group]`, `remove group 'x'`
fn removed<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    if message.starts_with("delete user ") {
        fields.action("user_delete", "success");
        fields.text("user_target", quoted(message)?.0);
        return Some(());
    }
    let starts = ["removed group '", "removed shadow group '", "remove group '", "group '"];
    let known = starts.iter().any(|start| message.starts_with(start)) && message.contains("remove");
    let (group, _) = quoted(message).filter(|_| known)?;
    fields.action("group_delete", "success");
    fields.text("group", group);
    Some(())
}

/// `password for 'ana' changed by 'root'`, `changed password expiry for ana`, `group changed in /etc/group (group x/1001, ...)`
fn changed<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    if let Some(rest) = message.strip_prefix("password for ") {
        let (user, by) = rest.split_once(" changed by ")?;
        fields.action("password_change", "success");
        fields.text("user_target", user.trim_matches('\''));
        fields.text("user", by.trim_matches('\''));
        return Some(());
    }
    if let Some(user) = message.strip_prefix("changed password expiry for ") {
        fields.action("user_modify", "success");
        fields.text("user_target", user);
        fields.text("attribute", "password expiry");
        return Some(());
    }
    let (_, rest) = message.strip_prefix("group changed in ")?.split_once("(group ")?;
    let (group, reason) = rest.trim_end_matches(')').split_once(", ")?;
    fields.action("group_modify", "success");
    fields.text("group", group.split('/').next()?);
    fields.text("reason", reason);
    Some(())
}

/// `user ana added by root to group sudo`, `user ana removed by root from group sudo`
fn gpasswd<'t>(message: &'t str, fields: &mut Fields<'t>) -> Option<()> {
    let (user, rest) = message.strip_prefix("user ")?.split_once(' ')?;
    let (action, rest, to) = match rest.strip_prefix("added by ") {
        Some(rest) => ("group_member_add", rest, " to group "),
        None => ("group_member_remove", rest.strip_prefix("removed by ")?, " from group "),
    };
    let (by, group) = rest.split_once(to)?;
    fields.action(action, "success");
    fields.text("user", by);
    fields.text("user_target", user);
    fields.text("group", group);
    Some(())
}

/// The first text between apostrophes, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.split_once('\'')?.1.split_once('\'')
}
