package conformance

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
	"github.com/openpf9/openpf9/plugin/schema"
)

const (
	fastInterval = 100 * time.Millisecond  // between lists, to see in a second what else takes a minute
	slowInterval = 500 * time.Millisecond  // enough to break the world between two lists and not in one
	quietTime    = 1250 * time.Millisecond // and some lists, to see what changes each second
	retryTime    = 1500 * time.Millisecond // for a first list that fails to be tried again
)

// meet hears the first hello and judges it.
func (k *kit) meet(c *child) bool {
	if !k.greet(c) {
		return false
	}
	took := c.greeted
	k.hello = c.hello
	k.report.Plugin, k.report.Version, k.report.SDK, k.report.Hello = c.hello.Name, c.hello.Version, c.hello.SDK, took
	k.ok(RuleHelloInTime, took.Round(100*time.Microsecond).String())
	if err := c.hello.Validate(); err != nil {
		k.breach(protocol.RuleHello, err)
		return false
	}
	k.ok(protocol.RuleHello, fmt.Sprintf("%s %s, %d kinds", c.hello.Name, c.hello.Version, len(c.hello.Kinds)))
	n, err := protocol.Choose(&c.hello, "this kit")
	if err != nil {
		k.breach(protocol.RuleProtocol, err)
		return false
	}
	k.ok(protocol.RuleProtocol, strconv.Itoa(n))
	return true
}

// conversation is what an agent and a good plugin do all day. It reports whether
// the plugin keeps to the protocol as far as to be worth more.
func (k *kit) conversation(c *child) bool {
	began := time.Now()
	if err := k.welcomeAndList(c, k.opt.Config); err != nil {
		k.breach(RuleFirstSnapshot, err)
		return false
	}
	k.report.Snapshot, k.report.Resources = time.Since(began), len(c.state)
	if k.empty = len(c.state) == 0; k.empty {
		k.warn(RuleFirstSnapshot, "it lists nothing, so these rules saw nothing to hold it to: "+list(vacuous, len(vacuous))+
			"; point it to a world that has something, by --config or Options.Config")
	} else {
		k.ok(RuleFirstSnapshot, fmt.Sprintf("%d resources after %v", len(c.state), k.report.Snapshot.Round(100*time.Microsecond)))
	}
	k.keys = make(map[protocol.Key]bool)
	for key := range c.state {
		k.keys[key] = true
	}
	if all, err := schemas(c.hello.Kinds); err != nil {
		k.fail(RuleSpecs, err.Error())
	} else {
		k.specs(c, all)
		k.columns(c, all)
	}
	for _, step := range []struct {
		rule protocol.Rule
		run  func(*child) (string, error)
	}{
		{RuleQuiet, k.quiet},
		{RulePong, k.pong},
		{RuleUnknown, k.unknown},
		{RuleResync, k.resync},
	} {
		if step.rule == RuleUnknown && k.broken(RulePong) {
			k.skip(RuleUnknown, "the plugin answers no ping to tell")
			continue
		}
		c.did("looks at " + string(step.rule))
		seen, err := step.run(c)
		if err != nil {
			k.breach(step.rule, err)
			if _, broken := errors.AsType[*protocol.Violation](err); broken || errors.Is(err, errGone) {
				return !broken
			}
			continue
		}
		k.ok(step.rule, seen)
	}
	k.memory(c)
	c.did("closes the connection")
	_ = c.conn.Close()
	k.leftIn(c, RuleGone, "the agent closed the connection")
	k.stdout(c)
	return true
}

// welcomeAndList welcomes the plugin and waits for its first snapshot.
func (k *kit) welcomeAndList(c *child, config json.RawMessage) error {
	if err := k.welcome(c, config, protocol.Window); err != nil {
		return err
	}
	limit, heard := firstTime+k.opt.Slack, c.heard.n
	err := c.until(func() bool { return c.wholes > 0 || c.status.Level != protocol.OK }, limit)
	if err == nil && c.status.Level == protocol.Degraded && c.wholes == 0 {
		limit = retryTime
		err = c.until(func() bool { return c.wholes > 0 || c.status.Level == protocol.Failed }, limit)
	}
	switch {
	case errors.Is(err, errTimeout):
		return c.listless(limit, c.heard.n-heard)
	case err != nil:
		return err
	case c.status.Level == protocol.Failed:
		return fmt.Errorf("the plugin gives up: %s", c.status.Text)
	}
	k.slowest = max(k.slowest, time.Since(c.began))
	return nil
}

// listless says what was seen of a plugin whose first list does not come, and
// what that hints at.
func (c *child) listless(limit time.Duration, heard int) error {
	late := fmt.Sprintf("no complete list within %v of the welcome", limit)
	switch {
	case c.status.Level != protocol.OK:
		return tardy(fmt.Sprintf("the list fails: %s; no complete one within %v of this status, %s",
			cmp.Or(strings.TrimSpace(c.status.Text), "there is no text"), limit, c.status.Level))
	case c.receiver.Seq() > 0:
		return tardy(fmt.Sprintf("%s: of %d deltas none ends a snapshot", late, c.receiver.Seq()))
	case heard > 0:
		return tardy(fmt.Sprintf("%s, but %d bytes: end each message with a newline, and flush after it; %s", late, heard, slackFor(limit)))
	}
	return tardy(fmt.Sprintf("%s, and nothing else: does it flush after each line? If it does, %s", late, slackFor(limit)))
}

func (k *kit) welcome(c *child, config json.RawMessage, window int) error {
	n, err := protocol.Choose(&c.hello, "this kit")
	if err != nil {
		return err
	}
	c.did("says welcome")
	return c.send(protocol.Frame{Welcome: &protocol.Welcome{
		Protocol: n, Window: window, IntervalMS: c.interval.Milliseconds(), Config: config, Agent: "conformance kit",
	}})
}

// specs holds specs to the schema of their kind.
func (k *kit) specs(c *child, schemas map[string]*schema.Schema) {
	checked := 0
	for key, r := range c.state {
		s := schemas[key.Kind]
		if s == nil {
			continue
		}
		if err := s.Validate("spec", r.Spec); err != nil {
			k.fail(RuleSpecs, fmt.Sprintf("%s %s: %v", key.Kind, key.ID, err))
			return
		}
		checked++
	}
	if checked == 0 {
		k.skip(RuleSpecs, "no resource of a kind with a published schema")
		return
	}
	k.ok(RuleSpecs, fmt.Sprintf("%d specs", checked))
}

// quiet waits and wants to hear nothing, and looks at what that costs.
func (k *kit) quiet(c *child) (string, error) {
	before, listed := c.deltas, maps.Clone(c.state)
	used, began := threadsOf(c.cmd.Process.Pid), time.Now()
	quiet := quietTime + min(k.report.Snapshot, firstTime) // of a slow list there must be one, too
	err := c.until(func() bool { return c.deltas > before }, quiet)
	if err == nil {
		return "", fmt.Errorf("a delta came %v after the last one, and nothing had changed: %s", time.Since(began).Round(time.Millisecond), c.news(listed))
	}
	if !errors.Is(err, errTimeout) {
		return "", err
	}
	k.report.Processor = threadsOf(c.cmd.Process.Pid).share(used, time.Since(began))
	text := fmt.Sprintf("%.1f %% of a processor with ten lists a second", 100*k.report.Processor)
	if k.report.Processor > k.opt.MaxProcessor {
		k.fail(RuleProcessor, fmt.Sprintf("%s, more than %.0f %%", text, 100*k.opt.MaxProcessor))
	} else {
		k.ok(RuleProcessor, text)
	}
	return fmt.Sprintf("for %v, told to list each %v", quiet.Round(10*time.Millisecond), fastInterval), nil
}

func (k *kit) pong(c *child) (string, error) {
	began := time.Now()
	if err := c.ping(answerTime + k.opt.Slack); err != nil {
		if errors.Is(err, errTimeout) {
			err = fmt.Errorf("no pong with the ping's nonce within %v", answerTime+k.opt.Slack)
		}
		return "", err
	}
	return time.Since(began).Round(100 * time.Microsecond).String(), nil
}

// unknown says what a later protocol may say.
func (k *kit) unknown(c *child) (string, error) {
	later := `{"rumour":{"seq":7,"of":["x",{"y":null}]}}` + "\n" + `{}` + "\n" +
		`{"ack":{"seq":` + strconv.FormatUint(c.receiver.Seq(), 10) + `,"later":[1]},"trace":"x"}` + "\n" +
		`{"refresh":{"keys":[],"later":{}}}` + "\n"
	if err := c.sendRaw([]byte(later)); err != nil {
		return "", errGone
	}
	if err := c.ping(answerTime + k.opt.Slack); err != nil {
		return "", fmt.Errorf("after messages and keys of a later time: %w", err)
	}
	return "", nil
}

func (k *kit) resync(c *child) (string, error) {
	wholes, began := c.wholes, time.Now()
	if err := c.send(protocol.Frame{Resync: &protocol.Resync{Reason: "check"}}); err != nil {
		return "", err
	}
	limit := leaveTime + k.opt.Slack
	most := max(firstTime, 2*k.report.Snapshot+leaveTime) + k.opt.Slack // to tell late from never: one list may be under way
	if err := c.until(func() bool { return c.wholes > wholes }, most); err != nil {
		if errors.Is(err, errTimeout) {
			err = fmt.Errorf("no snapshot within %v of a resync; %s", most, slackFor(most))
		}
		return "", err
	}
	took := time.Since(began)
	if k.listTime = took; k.report.Snapshot > took/2 { // which may have waited for one under way
		k.listTime = min(took, k.report.Snapshot)
	}
	if took > limit {
		return "", fmt.Errorf("the list took %v, limit %v (the first one took %v): %s",
			took.Round(100*time.Millisecond), limit, k.report.Snapshot.Round(100*time.Millisecond), slackFor(took))
	}
	if missing, extra := k.differs(c); missing+extra > 0 {
		return "", fmt.Errorf("the snapshot lacks %d of the first list's resources and has %d others", missing, extra)
	}
	return fmt.Sprintf("%d resources", len(c.state)), nil
}

// differs compares what is in force with the first list.
func (k *kit) differs(c *child) (missing, extra int) {
	for key := range k.keys {
		if _, ok := c.state[key]; !ok {
			missing++
		}
	}
	return missing, len(c.state) - (len(k.keys) - missing)
}

func (k *kit) memory(c *child) {
	k.report.Memory = mostResident(c.cmd.Process.Pid)
	text := fmt.Sprintf("%.1f MiB at most", float64(k.report.Memory)/(1<<20))
	if k.report.Memory > k.opt.MaxMemory {
		k.fail(RuleMemory, fmt.Sprintf("%s, more than %.0f MiB", text, float64(k.opt.MaxMemory)/(1<<20)))
		return
	}
	k.ok(RuleMemory, text)
}

// stdout looks for the protocol where only a log may be.
func (k *kit) stdout(c *child) {
	if c.saysOnStdout() {
		k.fail(RuleStdout, "a message of the protocol is on standard output: it belongs on file descriptor 0, the socket")
		return
	}
	_, all := c.stdout.text()
	k.ok(RuleStdout, fmt.Sprintf("%d bytes", all))
}

// leftIn wants the plugin to end.
func (k *kit) leftIn(c *child, rule protocol.Rule, why string) {
	began := time.Now()
	if !c.leaves(leaveTime + k.opt.Slack) {
		k.fail(rule, fmt.Sprintf("%s %v ago, and it is still there", why, leaveTime+k.opt.Slack))
		return
	}
	k.ok(rule, time.Since(began).Round(100*time.Microsecond).String())
}
