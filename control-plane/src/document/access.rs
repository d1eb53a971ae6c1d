//! Who may do what: users, members, tokens, node tokens.

use rr_contract::model::invalid::Violations;
use rr_contract::wire::management::{Member, NodeToken, Role, Token, User};

use super::{Fields, Link, Part, Resource, check_text, wrapped};
use crate::noun::Noun;

impl Resource for User {
    wrapped!(User);

    fn fields(&mut self) -> Fields<'_> {
        Fields {
            id: &mut self.id,
            org: None,
            name: Some(&mut self.name),
            owner: None,
            etag: &mut self.etag,
            created_at: &mut self.created_at,
            updated_at: Some(&mut self.updated_at),
            created_by: &mut self.created_by,
        }
    }

    fn links(&mut self) -> Vec<Link<'_>> {
        Vec::new()
    }

    fn check(&self, faults: &mut Violations) {
        check_text(&self.display_name, "display_name", faults);
        check_text(&self.email, "email", faults);
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("display_name", !self.display_name.is_empty()),
            ("email", !self.email.is_empty()),
            ("operator", self.operator),
            ("disabled", self.disabled),
        ]
    }

    fn take(&mut self, field: &str, from: &Self) {
        match field {
            "display_name" => self.display_name.clone_from(&from.display_name),
            "email" => self.email.clone_from(&from.email),
            "operator" => self.operator = from.operator,
            _ => self.disabled = from.disabled,
        }
    }
}

impl Resource for Member {
    wrapped!(Member);

    fn fields(&mut self) -> Fields<'_> {
        Fields {
            id: &mut self.id,
            org: Some(&mut self.org),
            name: Some(&mut self.name),
            owner: None,
            etag: &mut self.etag,
            created_at: &mut self.created_at,
            updated_at: Some(&mut self.updated_at),
            created_by: &mut self.created_by,
        }
    }

    fn links(&mut self) -> Vec<Link<'_>> {
        vec![Link { field: "user".into(), noun: Noun::User, part: Part::User, to: &mut self.user }]
    }

    fn check(&self, faults: &mut Violations) {
        if !matches!(self.role(), Role::Viewer | Role::Editor | Role::Admin | Role::Owner) {
            faults.add("role", "is one of ROLE_VIEWER, ROLE_EDITOR, ROLE_ADMIN and ROLE_OWNER");
        }
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        vec![("role", self.role != 0)]
    }

    fn take(&mut self, _field: &str, from: &Self) {
        self.role = from.role;
    }
}

impl Resource for Token {
    wrapped!(Token);

    fn fields(&mut self) -> Fields<'_> {
        Fields {
            id: &mut self.id,
            org: None,
            // For people, and not unique.
            name: None,
            owner: None,
            etag: &mut self.etag,
            created_at: &mut self.created_at,
            updated_at: None,
            created_by: &mut self.created_by,
        }
    }

    fn links(&mut self) -> Vec<Link<'_>> {
        let mut links = Vec::new();
        if !self.user.is_empty() {
            links.push(Link { field: "user".into(), noun: Noun::User, part: Part::User, to: &mut self.user });
        }
        for (i, grant) in self.grants.iter_mut().enumerate() {
            if !grant.org.is_empty() {
                let field = format!("grants[{i}].org");
                links.push(Link { field, noun: Noun::Org, part: Part::Granted, to: &mut grant.org });
            }
            if !grant.region.is_empty() {
                let field = format!("grants[{i}].region");
                links.push(Link { field, noun: Noun::Region, part: Part::Granted, to: &mut grant.region });
            }
        }
        links
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        Vec::new()
    }

    fn take(&mut self, _field: &str, _from: &Self) {}
}

impl Resource for NodeToken {
    wrapped!(NodeToken);

    fn fields(&mut self) -> Fields<'_> {
        Fields {
            id: &mut self.id,
            org: None,
            name: None,
            owner: None,
            etag: &mut self.etag,
            created_at: &mut self.created_at,
            updated_at: None,
            created_by: &mut self.created_by,
        }
    }

    fn links(&mut self) -> Vec<Link<'_>> {
        vec![Link { field: "region".into(), noun: Noun::Region, part: Part::Parent, to: &mut self.region }]
    }

    fn settle(&mut self) {
        self.used = 0;
    }

    fn masked(&self) -> Vec<(&'static str, bool)> {
        Vec::new()
    }

    fn take(&mut self, _field: &str, _from: &Self) {}
}
