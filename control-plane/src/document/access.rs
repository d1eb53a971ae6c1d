//! Users, members, tokens and node tokens.

use rr_contract::model::invalid::Violations;
use rr_contract::model::name::Name;
use rr_contract::wire::management::{Member, NodeToken, Role, Token, User};

use super::mask::{MaskPath, field_path};
use super::{Fields, Link, Part, Resource, check_text, wrapped};
use crate::noun::Noun;

impl Resource for User {
    wrapped!(User);

    const MASK: &'static [MaskPath<Self>] = &[
        field_path!(User, display_name),
        field_path!(User, email),
        field_path!(User, operator),
        MaskPath::<User>::DISABLED,
    ];

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
        faults.take("name", self.name.parse::<Name>());
    }
}

impl Resource for Member {
    wrapped!(Member);

    const MASK: &'static [MaskPath<Self>] = &[field_path!(Member, role)];

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
            faults.add("role", "must be viewer, editor, admin or owner");
        }
    }
}

impl Resource for Token {
    wrapped!(Token);

    const MASK: &'static [MaskPath<Self>] = &[];

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
}

impl Resource for NodeToken {
    wrapped!(NodeToken);

    const MASK: &'static [MaskPath<Self>] = &[];

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
}
