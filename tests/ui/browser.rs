//! A real browser, driven as the W3C's WebDriver says: headless Chromium behind its chromedriver.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::support::eventually;

/// The name under which WebDriver tells elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A window of a browser, which ends with this.
pub(crate) struct Browser {
    driver: Child,
    session: String,
    agent: ureq::Agent,
}

impl Browser {
    /// Starts one; `None`, and a line that says so, where there is none. With `EMBERFLOW_BROWSER=required` that is a
    /// failure.
    pub(crate) fn start() -> Option<Self> {
        let spawned = Command::new("chromedriver").arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut driver = match spawned {
            Ok(driver) => driver,
            Err(error) => {
                assert!(env::var_os("EMBERFLOW_BROWSER").is_none(), "a browser is required, but chromedriver: {error}");
                println!("skipped: chromedriver is not installed ({error}); see .ci/run");
                return None;
            }
        };
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let url = format!("http://127.0.0.1:{}", port.expect("chromedriver says its port"));
        // Whatever else it says is read and dropped, so that it can go on.
        std::thread::spawn(move || lines.for_each(drop));
        let config = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut browser = Self { driver, session: url, agent: config.into() };
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1400,1000"];
        let wanted = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let made = browser.call("/session", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = format!("{}/session/{}", browser.session, made["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn call(&self, path: &str, body: &Value) -> Value {
        self.try_call(path, body).unwrap_or_else(|error| panic!("{path} {body}: {error}"))
    }

    /// What the driver answers, or what it says is wrong.
    fn try_call(&self, path: &str, body: &Value) -> Result<Value, Value> {
        let url = format!("{}{path}", self.session);
        let mut answer = self.agent.post(&url).send_json(body).unwrap();
        let value = answer.body_mut().read_json::<Value>().unwrap()["value"].take();
        if answer.status().is_success() { Ok(value) } else { Err(value["message"].clone()) }
    }

    pub(crate) fn open(&self, url: &str) {
        self.call("/url", &json!({ "url": url }));
    }

    /// Runs a script's body in the page; what it returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Shows a view, as a link to it would.
    pub(crate) fn go(&self, view: &str) {
        self.run(&format!("location.hash = '{view}'"));
    }

    /// Evaluates an expression until it is so.
    pub(crate) fn soon(&self, expression: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let seen = eventually(|| self.run(&format!("return {expression}")), &is_so);
        assert!(is_so(&seen), "{expression} is {seen}; the page: {}", self.run("return document.body.innerText"));
        seen
    }

    /// What is written in all the elements that a selector finds.
    pub(crate) fn texts(&self, selector: &str) -> String {
        format!("[...document.querySelectorAll('{selector}')].map((el) => el.textContent)")
    }

    /// Clicks as a person would: only what can be seen and is not covered.
    pub(crate) fn click(&self, selector: &str) {
        let click = || {
            let found = self.try_call("/element", &json!({ "using": "css selector", "value": selector }))?;
            let element = found[ELEMENT].as_str().unwrap_or_default().to_owned();
            self.try_call(&format!("/element/{element}/click"), &json!({}))
        };
        // It may be drawn anew just now.
        let clicked = eventually(click, Result::is_ok);
        assert!(clicked.is_ok(), "{selector} cannot be clicked: {clicked:?}");
    }

    /// Presses a key, wherever the focus is.
    pub(crate) fn press(&self, key: char) {
        let press = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.call("/actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": press }] }));
    }

    /// Makes the page so wide and high, less than a window may be.
    pub(crate) fn narrow(&self, width: u32, height: u32) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("/goog/cdp/execute", &json!({ "cmd": "Emulation.setDeviceMetricsOverride", "params": size }));
    }

    /// Writes what is on the screen into the target directory.
    pub(crate) fn shoot(&self, name: &str) {
        let url = format!("{}/screenshot", self.session);
        let answer: Value = self.agent.get(&url).call().unwrap().body_mut().read_json().unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ui");
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("{name}.png")),
            BASE64_STANDARD.decode(answer["value"].as_str().unwrap()).unwrap(),
        )
        .unwrap();
    }

    /// What the browser has complained about.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.call("/se/log", &json!({ "type": "browser" }));
        log.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver closes its browsers when it is told to end a session; one that is killed leaves them behind.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
