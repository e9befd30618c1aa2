package conformance

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/openpf9/openpf9/plugin/protocol"
	"github.com/openpf9/openpf9/plugin/schema"
)

// listed gets a scenario as far as the first snapshot. What keeps it from that
// is not the fault of what the scenario is about.
func (k *kit) listed(c *child) bool {
	if c.wholes > 0 {
		return true // by the scenario before, with the same start
	}
	if err := k.welcomeAndList(c, k.opt.Config); err != nil {
		k.unlisted(err)
		return false
	}
	return true
}

// unlisted notes why there is no list on a start that is not the first.
func (k *kit) unlisted(err error) {
	if _, broken := errors.AsType[*protocol.Violation](err); !broken {
		err = fmt.Errorf("%s%w", k.startName(), err)
	}
	k.breach(RuleFirstSnapshot, err)
	k.stop = "there is no first snapshot"
}

// restart compares a second run with the first, and tells it to leave.
func (k *kit) restart(c *child) {
	if !k.listed(c) {
		return
	}
	if missing, extra := k.differs(c); missing+extra > 0 {
		k.fail(RuleStable, fmt.Sprintf("after a restart %d of %d ids are gone and %d are new%s", missing, len(k.keys), extra, k.example(c)))
	} else {
		k.ok(RuleStable, fmt.Sprintf("%d ids are the same after a restart", len(k.keys)))
		if kind, n := counted(k.keys); n > 1 {
			k.warn(RuleStable, fmt.Sprintf("the ids of %s are 0 to %d, and the same after a restart: if that is the place in a list, another thing gets an id when one before it goes", kind, n-1))
		}
	}
	c.did("says stop")
	if err := c.send(protocol.Frame{Stop: &protocol.Stop{GraceMS: leaveTime.Milliseconds()}}); err != nil {
		k.breach(RuleStop, err)
		return
	}
	k.leftIn(c, RuleStop, "stop was sent")
}

// example names an id that was listed first and is gone now, if any.
func (k *kit) example(c *child) string {
	for key := range k.keys {
		if _, still := c.state[key]; !still {
			return fmt.Sprintf(", such as %s %s", key.Kind, key.ID)
		}
	}
	return ""
}

// counted returns a kind whose ids are the numbers from 0, if there is one, and
// how many.
func counted(keys map[protocol.Key]bool) (kind string, n int) {
	of := make(map[string]int)
	for key := range keys {
		of[key.Kind]++
	}
	for _, kind := range slices.Sorted(maps.Keys(of)) {
		n := 0
		for keys[protocol.Key{Kind: kind, ID: strconv.Itoa(n)}] {
			n++
		}
		if n == of[kind] && n > 1 {
			return kind, n
		}
	}
	return "", 0
}

// window acknowledges nothing, asks for much and counts.
func (k *kit) window(c *child) {
	const window = 2
	asked, lists := k.resyncs(window+1, 10)
	c.dontAck = true
	err := k.welcome(c, k.opt.Config, window)
	if err == nil {
		err = c.until(func() bool { return c.deltas > 0 }, firstTime+k.opt.Slack)
	}
	if errors.Is(err, errTimeout) {
		err = tardy(fmt.Sprintf("no delta within %v of the welcome; %s", firstTime+k.opt.Slack, slackFor(firstTime)))
	}
	if err != nil {
		k.unlisted(err)
		return
	}
	c.did("acknowledges nothing, and asks for resyncs")
	over := func() bool { return c.deltas > window }
	for range asked {
		if err != nil {
			break
		}
		if err = c.send(protocol.Frame{Resync: &protocol.Resync{Reason: "check of the window"}}); err != nil {
			break
		}
		if err = c.until(over, 30*time.Millisecond); errors.Is(err, errTimeout) {
			err = nil
		}
	}
	if err == nil {
		err = c.until(over, 200*time.Millisecond+lists)
	}
	switch {
	case over():
		k.fail(RuleWindow, fmt.Sprintf("%d deltas came with a window of %d and no acknowledgement", c.deltas, window))
		return
	case !errors.Is(err, errTimeout):
		k.breach(RuleWindow, err)
		return
	}
	k.ok(RuleWindow, fmt.Sprintf("%d unacknowledged with a window of %d", c.deltas, window))
	k.forgotten(c, lists)
}

// resyncs says how many to send at once of those that would be best, and for how
// long a plugin may list that answers each by itself.
func (k *kit) resyncs(least, best int) (n int, lists time.Duration) {
	n = min(best, max(least, int(time.Second/max(k.listTime, time.Millisecond))))
	return n, time.Duration(n) * k.listTime
}

// forgotten wants a resync that met a full window to be answered later.
func (k *kit) forgotten(c *child, lists time.Duration) {
	if k.broken(RuleResync) {
		return
	}
	err := c.send(protocol.Frame{Resync: &protocol.Resync{Reason: "check of the full window"}})
	if err == nil {
		err = c.until(func() bool { return false }, 30*time.Millisecond) // it finds the window full
	}
	c.dontAck = false
	wholes := c.wholes
	if errors.Is(err, errTimeout) {
		err = c.send(protocol.Frame{Ack: &protocol.Ack{Seq: c.receiver.Seq()}})
	}
	if err == nil {
		err = c.until(func() bool { return c.wholes > wholes }, leaveTime+k.opt.Slack+lists)
	}
	if errors.Is(err, errTimeout) {
		k.fail(RuleResync, "a resync that came while the window was full is forgotten")
	} else if err != nil {
		k.breach(RuleResync, err)
	}
}

func (k *kit) sigterm(c *child) {
	if !k.listed(c) {
		return
	}
	c.did("sends SIGTERM")
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		k.fail(RuleSigterm, err.Error())
		return
	}
	k.leftIn(c, RuleSigterm, "SIGTERM was sent")
}

// halfClosed closes only the agent's sending half.
func (k *kit) halfClosed(c *child) {
	if !k.listed(c) {
		return
	}
	c.did("closes its sending half")
	if err := c.conn.CloseWrite(); err != nil {
		k.fail(RuleHalfClosed, err.Error())
		return
	}
	k.leftIn(c, RuleHalfClosed, "the agent closed its sending half")
}

// longLine sends more than a line may have.
func (k *kit) longLine(c *child) {
	if !k.listed(c) {
		return
	}
	c.did("sends a line of more than 4 MiB")
	line := `{"resync":{"reason":"` + strings.Repeat("x", protocol.MaxLine) + `"}}` + "\n"
	if err := c.sendRaw([]byte(line)); err == nil {
		c.nonce++
		_ = c.send(protocol.Frame{Ping: &protocol.Ping{Nonce: c.nonce}}) // it may have left by now
	}
	err := c.until(func() bool { return c.nonce > 0 && c.pong == c.nonce }, leaveTime+k.opt.Slack)
	switch {
	case err == nil:
		k.fail(RuleLongLine, fmt.Sprintf("it took in a line of more than %d bytes and went on", protocol.MaxLine))
	case errors.Is(err, errTimeout) || !c.leaves(leaveTime+k.opt.Slack):
		k.fail(RuleLongLine, fmt.Sprintf("within %v of a line that is too long it neither leaves nor goes on", leaveTime+k.opt.Slack))
	default:
		k.ok(RuleLongLine, "it left")
	}
}

// slowReader leaves what the plugin says unread for a while, with little room
// in the socket.
func (k *kit) slowReader(c *child) {
	if !k.listed(c) {
		return
	}
	const pings = 40
	asked, lists := k.resyncs(1, pings)
	limit := leaveTime + k.opt.Slack + lists
	c.did("asks for much and reads nothing")
	for i := range pings {
		c.nonce++
		frames := []protocol.Frame{{Ping: &protocol.Ping{Nonce: c.nonce}}}
		if i < asked {
			frames = append(frames, protocol.Frame{Resync: &protocol.Resync{Reason: "check"}})
		}
		if err := c.send(frames...); err != nil {
			k.breach(RuleSlowReader, err)
			return
		}
	}
	c.ends(700 * time.Millisecond) // not reading
	wholes := c.wholes
	err := c.until(func() bool { return c.wholes > wholes || k.broken(RuleResync) }, limit)
	if err == nil && !k.broken(RulePong) {
		err = c.ping(limit)
	}
	if errors.Is(err, errTimeout) {
		err = fmt.Errorf("what it owes does not come within %v", limit)
	}
	if err != nil { // also a breach of another rule, which nothing but waiting brought about
		k.fail(RuleSlowReader, fmt.Sprintf("after the agent read nothing for 700ms: %v", err))
		return
	}
	k.ok(RuleSlowReader, "nothing was lost")
}

// garbages are lines that no agent sends.
func garbages() [][]byte {
	return [][]byte{
		[]byte("GET / HTTP/1.1"),
		[]byte(`[1,2,3]`),
		[]byte(`{"ack":"yes","ping":`),
		[]byte(`{"refresh":{"keys":7}}`),
		{0xff, 0xfe, 0x00, 0x80, '"', '{'},
		bytes.Repeat([]byte("["), 100_000),
	}
}

// garbage wants the plugin to go on or to leave in order, as it likes.
func (k *kit) garbage(c *child, garbage []byte) {
	if !k.listed(c) {
		return
	}
	c.did(fmt.Sprintf("sends %.40q", garbage))
	_ = c.sendRaw(append(garbage[:len(garbage):len(garbage)], '\n'))
	if k.broken(RulePong) || k.broken(RuleUnknown) {
		k.skip(RuleGarbage, "the plugin answers no ping to tell")
		return
	}
	err := c.ping(leaveTime + k.opt.Slack)
	if errors.Is(err, errTimeout) {
		k.fail(RuleGarbage, fmt.Sprintf("after %.40q it neither answers nor leaves", garbage))
		return
	}
	if err != nil { // it leaves
		switch {
		case !c.leaves(leaveTime + k.opt.Slack):
			k.fail(RuleGarbage, fmt.Sprintf("after %.40q it hangs: %v", garbage, err))
			return
		case c.crashed() != "":
			k.fail(RuleGarbage, fmt.Sprintf("after %.40q it crashed: %s", garbage, c.crashed()))
			return
		}
	}
	k.ok(RuleGarbage, fmt.Sprintf("%d kinds of it", len(garbages())))
}

// defaults gives the plugin its own defaults in full.
func (k *kit) defaults(c *child) {
	s, err := schema.Parse(c.hello.ConfigSchema)
	if err != nil {
		k.fail(RuleDefaults, err.Error())
		return
	}
	config := s.Defaults()
	if err := s.Validate("config", config); err != nil {
		k.fail(RuleDefaults, fmt.Sprintf("the schema refuses its own defaults: %v", err))
		return
	}
	if config, err = overlay(config, k.opt.Config); err != nil {
		k.fail(RuleDefaults, err.Error())
		return
	}
	c.did("gives it all of its defaults")
	if err := k.welcomeAndList(c, config); errors.Is(err, errTimeout) {
		k.unlisted(err)
		return
	} else if err != nil {
		k.breach(RuleDefaults, fmt.Errorf("given %s: %w", config, err))
		return
	}
	k.ok(RuleDefaults, string(s.Defaults()))
}

// unknownKey gives the plugin a configuration with a key too many.
func (k *kit) unknownKey(c *child) {
	const key = "no-such-key-of-the-conformance-kit"
	config, err := overlay(k.opt.Config, json.RawMessage(`{"`+key+`":true}`))
	if err != nil {
		k.fail(RuleUnknownKey, err.Error())
		return
	}
	if s, err := schema.Parse(c.hello.ConfigSchema); err != nil || s.Validate("config", config) == nil {
		k.fail(RuleUnknownKey, "the published schema allows unknown keys: want \"additionalProperties\": false")
		return
	}
	c.did("gives it a configuration with the key " + key)
	err = k.welcomeAndList(c, config)
	_, broken := errors.AsType[*protocol.Violation](err)
	switch {
	case broken:
		k.breach(RuleUnknownKey, err)
	case err == nil:
		k.fail(RuleUnknownKey, "it goes on with a key that it does not know")
	case errors.Is(err, errTimeout):
		k.fail(RuleUnknownKey, fmt.Sprintf("given a key that it does not know it neither refuses nor lists: %v", err))
	default:
		k.refusal(c, key)
	}
}

// refusal wants a configuration to be refused as the protocol has it.
func (k *kit) refusal(c *child, key string) {
	const exit = 78
	switch {
	case c.status.Level != protocol.Failed:
		k.fail(RuleUnknownKey, fmt.Sprintf("it leaves and does not say why: want a status, level %s, that names the key%s", protocol.Failed, c.logged()))
	case !strings.Contains(c.status.Text, key):
		k.fail(RuleUnknownKey, fmt.Sprintf("the status's text is %.100q: want the key in it, %s", c.status.Text, key))
	case !c.leaves(leaveTime + k.opt.Slack):
		k.fail(RuleUnknownKey, fmt.Sprintf("it says that it gives up, and is still there %v later", leaveTime+k.opt.Slack))
	case c.cmd.ProcessState.ExitCode() != exit:
		k.fail(RuleUnknownKey, fmt.Sprintf("it leaves with %v, want exit status %d, which says that the configuration is at fault", c.cmd.ProcessState, exit))
	default:
		k.ok(RuleUnknownKey, c.status.Text)
	}
}

// overlay puts the keys of an object over those of another.
func overlay(under, over json.RawMessage) (json.RawMessage, error) {
	all := make(map[string]json.RawMessage)
	for _, b := range []json.RawMessage{under, over} {
		if len(b) == 0 {
			continue
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(b, &m); err != nil {
			return nil, fmt.Errorf("the configuration is no JSON object: %w", err)
		}
		maps.Copy(all, m)
	}
	return json.Marshal(all)
}

// listError makes the plugin's list fail, right after one, so that no list is
// under way that sees half of the world.
func (k *kit) listError(c *child) {
	c.interval = slowInterval
	if !k.listed(c) {
		return
	}
	c.did("makes the list fail")
	mend := k.breakList()
	if mend == nil {
		return
	}
	defer mend()
	deletes := c.deletes
	list := min(k.report.Snapshot, firstTime+k.opt.Slack)
	err := c.until(func() bool { return c.status.Level != protocol.OK || c.deletes > deletes }, firstTime+2*list+k.opt.Slack)
	if err == nil && c.deletes == deletes { // the status is told; does anything follow?
		err = c.until(func() bool { return c.deletes > deletes }, 2*slowInterval+list)
	}
	switch {
	case c.deletes > deletes:
		k.fail(RuleErrors, fmt.Sprintf("%d resources were deleted when the list failed", c.deletes-deletes))
	case errors.Is(err, errTimeout) && c.status.Level == protocol.OK:
		k.warn(RuleErrors, "not exercised: what should make the list fail was done, and the plugin's status stays ok")
	case errors.Is(err, errTimeout):
		k.ok(RuleErrors, "its status: "+c.status.Text)
	case errors.Is(err, errGone) && c.status.Level == protocol.OK:
		k.fail(RuleErrors, fmt.Sprintf("when the list failed it left without a status: %v", err))
	case errors.Is(err, errGone):
		k.ok(RuleErrors, "its status: "+c.status.Text+"; it left")
	default:
		k.breach(RuleErrors, err)
	}
}

// breakList makes the list fail; nil: it could not.
func (k *kit) breakList() (mend func()) {
	mend, err := k.opt.BreakList()
	if err != nil {
		k.warn(RuleErrors, fmt.Sprintf("not exercised: %v", err))
		return nil
	}
	return mend
}
