//! From a manifest to an application that cannot be wrong; every fault is told at once.

use std::collections::HashMap;

use edgeio_domain::{
    ids::SpecHash,
    name::Name,
    spec::{MAX_SERVICES, MAX_SPEC_BYTES, ServiceSpec},
    violation::Violations,
};
use edgeio_link::spec;
use edgeio_proto::api::v1;
use edgeio_server::auth::{Principal, Role};

use super::{AppError, Named, RequestKey, access};

/// A checked Apply.
#[derive(Clone, Debug)]
pub struct Apply {
    pub(crate) key: RequestKey,
    pub(crate) named: Named,
    pub(crate) services: Vec<Checked>,
    pub(crate) validate_only: bool,
    pub(crate) expected_version: u64,
    /// Its namespace may be made by it.
    pub(crate) may_make_namespace: bool,
    pub(crate) by: String,
}

/// A checked service with its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    pub(crate) name: Name,
    pub(crate) replicas: Option<u32>,
    pub(crate) hash: SpecHash,
    pub(crate) body: Vec<u8>,
    pub(crate) spec: ServiceSpec,
}

impl Apply {
    /// Checks a request.
    ///
    /// # Errors
    /// Names every field that is wrong, or what the caller may not.
    pub fn parse(who: &Principal, mut request: v1::ApplyRequest) -> Result<Self, AppError> {
        let mut faults = Violations::default();
        let id = std::mem::take(&mut request.request_id);
        let key = RequestKey::new(who, "Apply", id, &request, &mut faults);
        let application = request.application.unwrap_or_else(|| {
            faults.add("application", "is required");
            v1::ApplicationSpec::default()
        });
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults.into_vec()));
        }
        let named = Named::check(
            "application.",
            &application.namespace,
            &application.name,
            &mut faults,
        );
        let services = check_services(&application.services, &mut faults);
        let (Some(named), true) = (named, faults.is_empty()) else {
            return Err(AppError::Invalid(faults.into_vec()));
        };
        access::within(who, Role::Deployer, &named.namespace)?;
        Ok(Self {
            key,
            named,
            services,
            validate_only: request.validate_only,
            expected_version: request.expected_version,
            may_make_namespace: who.role_everywhere() >= Some(Role::Operator),
            by: who.name.clone(),
        })
    }
}

fn check_services(services: &[v1::ServiceSpec], faults: &mut Violations) -> Vec<Checked> {
    if services.is_empty() || services.len() > MAX_SERVICES {
        faults.add(
            "application.services",
            format!(
                "has {} services: an application has 1 to {MAX_SERVICES}",
                services.len()
            ),
        );
    }
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut checked = Vec::new();
    for (index, service) in services.iter().enumerate() {
        let path = format!("application.services[{index}]");
        let first = *seen.entry(service.name.as_str()).or_insert(index);
        if first != index && !service.name.is_empty() {
            faults.add(
                format!("{path}.name"),
                format!("is the name of services[{first}] too: give each service its own"),
            );
        }
        let spec = ServiceSpec::check(&spec::draft(service), &path, faults);
        let (hash, body) = spec::encode(service);
        if spec::too_long(&body) {
            faults.add(
                path,
                format!(
                    "takes {} bytes: {MAX_SPEC_BYTES} at most; keep files and long texts elsewhere",
                    body.len()
                ),
            );
        }
        checked.extend(spec.map(|spec| Checked {
            name: spec.name.clone(),
            replicas: service.replicas,
            hash,
            body,
            spec,
        }));
    }
    checked
}
