//! One kubeconfig per user, with everything embedded, so that a test may copy or edit it.

use std::fs;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::components::API_SERVER;
use super::pki;
use super::plan::Plan;

/// Writes `kubeconfig/<user>` (JSON, which is YAML too).
pub(crate) fn write(plan: &Plan) -> Result<()> {
    fs::create_dir_all(plan.path("kubeconfig"))?;
    let encoded = |file: String| -> Result<String> { Ok(STANDARD.encode(fs::read(plan.path("pki").join(file))?)) };
    for user in pki::user_names() {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": {
                "server": format!("https://{API_SERVER}"),
                "certificate-authority-data": encoded("ca.crt".to_owned())?,
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": encoded(format!("{user}.crt"))?,
                "client-key-data": encoded(format!("{user}.key"))?,
            }}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": user}}],
            "current-context": "testbed",
        });
        fs::write(plan.path("kubeconfig").join(&user), serde_json::to_vec_pretty(&config)?)?;
    }
    Ok(())
}
