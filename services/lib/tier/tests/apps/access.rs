//! Users, tokens, namespaces and quotas, without the wire.

use edgeio_proto::api::v1;
use edgeio_server::{
    auth::{AuthError, Authenticate, Binding, Method, Peer, Principal, PrincipalKind, Role},
    status::{Classify, Kind},
};
use edgeio_store::{Store as _, Write};
use edgeio_tier::{
    access::{Access, UserTokens, first_admin},
    apps::Apply,
};
use tonic::metadata::MetadataMap;

use crate::support::{Bed, as_role, manifest, service, web};

struct Office {
    bed: Bed,
    access: Access,
    boss: Principal,
}

impl Office {
    fn open() -> Self {
        let bed = Bed::root();
        Self {
            access: Access::new(&bed.context),
            bed,
            boss: as_role(Role::Admin),
        }
    }

    async fn user(&self, name: &str) {
        let request = v1::CreateUserRequest {
            name: name.into(),
            ..Default::default()
        };
        self.access.create_user(&self.boss, request).await.unwrap();
    }

    async fn namespace(&self, name: &str, quota: v1::Quota) {
        let request = v1::CreateNamespaceRequest {
            name: name.into(),
            quota: Some(quota),
            ..Default::default()
        };
        let made = self.access.create_namespace(&self.boss, request).await;
        made.unwrap();
    }

    fn binding(user: &str, namespace: &str, role: &str) -> v1::BindRequest {
        v1::BindRequest {
            user: user.into(),
            binding: Some(v1::RoleBinding {
                namespace: namespace.into(),
                role: role.into(),
            }),
            request_id: String::new(),
        }
    }

    async fn bind(&self, user: &str, namespace: &str, role: &str) {
        let request = Self::binding(user, namespace, role);
        self.access.bind(&self.boss, request).await.unwrap();
    }

    async fn token(&self, user: &str, lifetime_seconds: u64) -> v1::CreateUserTokenResponse {
        let request = v1::CreateUserTokenRequest {
            user: user.into(),
            lifetime_seconds,
            ..Default::default()
        };
        let made = self.access.create_user_token(&self.boss, request).await;
        made.unwrap()
    }

    async fn shows(&self, token: &str) -> Result<Option<Principal>, AuthError> {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let nowhere = Peer { address: None };
        UserTokens::new(&self.bed.context)
            .authenticate(&metadata, &nowhere)
            .await
    }
}

#[tokio::test]
async fn a_token_makes_its_user_known_until_it_ends() {
    let office = Office::open();
    office.user("ann").await;
    office.bind("ann", "default", "deployer").await;
    let token = office.token("ann", 60).await;
    let who = office.shows(&token.secret).await.unwrap().unwrap();
    assert_eq!(
        (who.name.as_str(), who.kind, who.method),
        ("ann", PrincipalKind::User, Method::Token)
    );
    assert_eq!(who.bindings, [Binding::within("default", Role::Deployer)]);
    // What is no token of this kind is for another to know.
    assert_eq!(office.shows("eyJ.a.b").await.unwrap(), None);

    let other = office.token("ann", 0).await;
    let swapped = format!(
        "{}_{}",
        token.secret.rsplit_once('_').unwrap().0,
        other.secret.splitn(3, '_').nth(2).unwrap()
    );
    for wrong in ["edgeio_", "edgeio_x_y", &token.secret[..60], &swapped] {
        let error = office.shows(wrong).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthenticated, "{wrong}");
    }
    office.bed.clock.advance(60_000);
    let error = office.shows(&token.secret).await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    let id = other.token.unwrap().id;
    let request = v1::RevokeUserTokenRequest { id };
    for _ in 0..2 {
        let revoked = office
            .access
            .revoke_user_token(&office.boss, request.clone());
        assert!(revoked.await.unwrap().token.unwrap().revoked_at.is_some());
    }
    let error = office.shows(&other.secret).await.unwrap_err();
    assert!(error.to_string().contains("revoked"), "{error}");

    let third = office.token("ann", 0).await;
    let request = v1::DeleteUserRequest {
        name: "ann".into(),
        ..Default::default()
    };
    office
        .access
        .delete_user(&office.boss, request)
        .await
        .unwrap();
    assert!(office.shows(&third.secret).await.is_err());
}

#[tokio::test]
async fn a_user_sees_and_revokes_only_its_own_tokens() {
    let office = Office::open();
    for name in ["ann", "bob"] {
        office.user(name).await;
        office.bind(name, "default", "viewer").await;
    }
    let (ann, bob) = (office.token("ann", 0).await, office.token("bob", 0).await);
    let who = office.shows(&ann.secret).await.unwrap().unwrap();
    let own = v1::ListUserTokensRequest::default();
    let seen = office
        .access
        .list_user_tokens(&who, own.clone())
        .await
        .unwrap();
    assert_eq!(seen.tokens.len(), 1);
    assert_eq!(seen.tokens[0].user, "ann");
    let all = office
        .access
        .list_user_tokens(&office.boss, own)
        .await
        .unwrap();
    assert_eq!(all.tokens.len(), 2);
    let bobs = v1::ListUserTokensRequest { user: "bob".into() };
    let error = office
        .access
        .list_user_tokens(&who, bobs)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    let id = bob.token.unwrap().id;
    let revoke = v1::RevokeUserTokenRequest { id };
    let error = office
        .access
        .revoke_user_token(&who, revoke)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(office.shows(&bob.secret).await.is_ok());
}

#[tokio::test]
async fn a_namespace_admin_binds_there_and_nowhere_else() {
    let office = Office::open();
    office.namespace("shop", v1::Quota::default()).await;
    office.namespace("lab", v1::Quota::default()).await;
    office.user("ann").await;
    office.bind("ann", "lab", "viewer").await;
    let chief = Principal {
        bindings: vec![Binding::within("shop", Role::NamespaceAdmin)],
        ..as_role(Role::Viewer)
    };
    let bind = |namespace, role| {
        let request = Office::binding("ann", namespace, role);
        office.access.bind(&chief, request)
    };
    let user = bind("shop", "deployer").await.unwrap().user.unwrap();
    assert_eq!(
        user.bindings.len(),
        1,
        "what is bound elsewhere is not shown"
    );
    for (namespace, role, kind) in [
        ("lab", "viewer", Kind::NotFound),
        ("", "viewer", Kind::Forbidden),
        ("shop", "operator", Kind::InvalidInput),
        ("shop", "boss", Kind::InvalidInput),
        ("", "admin", Kind::Forbidden),
    ] {
        let error = bind(namespace, role).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{namespace} {role}");
    }
    let seen = office
        .access
        .list_users(&chief, v1::ListUsersRequest::default());
    assert_eq!(seen.await.unwrap().users.len(), 1);
}

#[tokio::test]
async fn somebody_can_always_do_everything() {
    let office = Office::open();
    office.user("ann").await;
    office.user("bob").await;
    office.bind("ann", "", "admin").await;
    let delete = v1::DeleteUserRequest {
        name: "ann".into(),
        ..Default::default()
    };
    let error = office
        .access
        .delete_user(&office.boss, delete.clone())
        .await;
    assert_eq!(error.unwrap_err().reason(), "LAST_ADMIN");
    let unbind = v1::UnbindRequest {
        user: "ann".into(),
        binding: Office::binding("ann", "", "admin").binding,
        request_id: String::new(),
    };
    let error = office.access.unbind(&office.boss, unbind.clone()).await;
    assert_eq!(error.unwrap_err().reason(), "LAST_ADMIN");
    office.bind("bob", "", "admin").await;
    office.access.unbind(&office.boss, unbind).await.unwrap();
    office
        .access
        .delete_user(&office.boss, delete)
        .await
        .unwrap();
}

#[tokio::test]
async fn an_unknown_namespace_is_made_by_who_may_and_not_there_for_others() {
    let bed = Bed::root();
    let aside = || v1::ApplyRequest {
        application: Some(v1::ApplicationSpec {
            namespace: "aside".into(),
            ..manifest("web", vec![service("a", None)])
                .application
                .unwrap()
        }),
        ..Default::default()
    };
    let deployer = Apply::parse(&as_role(Role::Deployer), aside()).unwrap();
    let error = bed.apps.apply(deployer).await.unwrap_err();
    assert_eq!(error.reason(), "NAMESPACE_NOT_FOUND");
    assert!(error.to_string().contains("edgeio namespace create"));
    assert_eq!(bed.count().await, 0);
    let operator = Apply::parse(&as_role(Role::Operator), aside()).unwrap();
    bed.apps.apply(operator).await.unwrap();
    let tx = bed.store.read().await.unwrap();
    assert!(tx.namespace("aside").await.unwrap().is_some());
    drop(tx);

    let access = Access::new(&bed.context);
    let delete = |name: &str| {
        let request = v1::DeleteNamespaceRequest {
            name: name.into(),
            ..Default::default()
        };
        let access = access.clone();
        async move {
            access
                .delete_namespace(&as_role(Role::Operator), request)
                .await
        }
    };
    assert_eq!(
        delete("aside").await.unwrap_err().reason(),
        "NAMESPACE_NOT_EMPTY"
    );
    assert_eq!(
        delete("default").await.unwrap_err().reason(),
        "INVALID_FIELDS"
    );
    assert_eq!(delete("none").await.unwrap_err().kind(), Kind::NotFound);
    let tx = bed.store.read().await.unwrap();
    let all = tx.applications(&Default::default()).await.unwrap();
    drop(tx);
    bed.write([Write::DeleteApplication(all[0].uid)]).await;
    delete("aside").await.unwrap();
}

#[tokio::test]
async fn a_quota_is_kept_by_apply_and_scale() {
    let office = Office::open();
    let quota = v1::Quota {
        cpu: Some("3".into()),
        instances: Some(10),
        applications: Some(1),
        memory: None,
    };
    let set = v1::SetQuotaRequest {
        namespace: "default".into(),
        quota: Some(quota),
        request_id: String::new(),
    };
    office.access.set_quota(&office.boss, set).await.unwrap();
    // Each replica asks for one core.
    office.bed.applied(web(2)).await;
    let scale = |replicas| v1::ScaleRequest {
        name: "web".into(),
        replicas,
        ..Default::default()
    };
    office.bed.scale(scale(3)).await.unwrap();
    let error = office.bed.scale(scale(4)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.reason()),
        (Kind::Exhausted, "QUOTA_EXCEEDED")
    );
    let told: Vec<_> = error
        .metadata()
        .into_iter()
        .map(|(_, value)| value)
        .collect();
    assert_eq!(told, ["cpu", "3", "4", "3"]);
    let error = office.bed.apply(web(9)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Exhausted);
    let second = manifest("other", vec![service("a", Some(0))]);
    let error = office.bed.apply(second).await.unwrap_err();
    assert!(
        error.to_string().contains("applications would be 2 of 1"),
        "{error}"
    );
    let free = v1::ServiceSpec {
        resources: None,
        ..service("a", Some(1))
    };
    let error = office
        .bed
        .apply(manifest("web", vec![free]))
        .await
        .unwrap_err();
    assert_eq!(
        error.fields()[0].path,
        "application.services[0].resources.cpu"
    );

    let list = office
        .access
        .list_namespaces(&office.boss, v1::ListNamespacesRequest::default());
    let used = list.await.unwrap().namespaces[0].used.clone().unwrap();
    assert_eq!((used.cpu.as_deref(), used.instances), (Some("3"), Some(3)));
    // A lower quota stops nothing, and less may always be asked for.
    let set = v1::SetQuotaRequest {
        namespace: "default".into(),
        quota: Some(v1::Quota {
            cpu: Some("1".into()),
            ..Default::default()
        }),
        request_id: String::new(),
    };
    office.access.set_quota(&office.boss, set).await.unwrap();
    office.bed.scale(scale(2)).await.unwrap();
    assert_eq!(
        office.bed.scale(scale(3)).await.unwrap_err().kind(),
        Kind::Exhausted
    );
}

#[tokio::test]
async fn the_audit_is_listed_newest_first_and_verified() {
    let office = Office::open();
    for name in ["ann", "bob", "cid"] {
        office.user(name).await;
    }
    let ask = |page_token: String| {
        let request = v1::ListAuditRequest {
            page_size: 2,
            page_token,
        };
        office.access.list_audit(&office.boss, request)
    };
    let first = ask(String::new()).await.unwrap();
    let second = ask(first.next_page_token).await.unwrap();
    let objects: Vec<_> = first
        .entries
        .iter()
        .chain(&second.entries)
        .map(|entry| entry.object.as_str())
        .collect();
    assert_eq!(objects, ["user/cid", "user/bob", "user/ann"]);
    assert_eq!(second.next_page_token, "");
    let verified = office.access.verify_audit(&office.boss).await.unwrap();
    assert!(verified.unbroken && verified.entries == 3);
    assert_eq!(verified.head, first.entries[0].hash);
}

#[tokio::test]
async fn the_first_administrator_is_made_once_in_a_file_of_its_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let office = Office::open();
    let folder = tempfile::tempdir().unwrap();
    first_admin(&office.bed.context, folder.path())
        .await
        .unwrap();
    let path = folder.path().join("admin.token");
    let token = std::fs::read_to_string(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let who = office.shows(token.trim()).await.unwrap().unwrap();
    assert_eq!(who.role_everywhere(), Some(Role::Admin));
    first_admin(&office.bed.context, folder.path())
        .await
        .unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), token);
}
