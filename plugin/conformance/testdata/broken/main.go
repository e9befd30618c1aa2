// Command broken is a plugin that keeps every rule but the one named by its
// argument, and all of them as "none". It speaks the protocol without the SDK, which would not let it.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

type object = map[string]any

const (
	kind    = "com.example.thing"
	maxLine = 4 << 20
)

var busy atomic.Int64

type plugin struct {
	mode   string
	seq    float64
	acked  float64
	window float64
	told   string // the last list, as JSON
	owed   bool   // a snapshot was asked for
	listed bool
	health string
	starts int // counted where BREAK is
}

func main() {
	p := &plugin{mode: os.Args[1], health: "ok"}
	if p.is("leaves-on-sigterm") {
		signal.Ignore(syscall.SIGTERM)
	}
	p.spoilStart()
	p.send(object{"hello": p.hello()})
	lines := make(chan []byte)
	go p.read(lines)
	welcome := p.welcome(<-lines)
	p.window = welcome["window"].(float64)
	p.spoilMachine()
	tick := time.NewTicker(time.Duration(welcome["interval_ms"].(float64)) * time.Millisecond)
	p.list()
	for {
		select {
		case <-tick.C:
			if p.is("quiet-when-unchanged") {
				p.told = ""
			}
		case line := <-lines:
			p.hear(line)
		}
		p.list()
	}
}

// spoilStart is late with the hello, or says none, on the first start or on the
// second one.
func (p *plugin) spoilStart() {
	if name := os.Getenv("BREAK"); name != "" {
		before, _ := os.ReadFile(name + ".starts")
		p.starts = len(before) + 1
		os.WriteFile(name+".starts", make([]byte, p.starts), 0o644)
	}
	switch {
	case p.is("hello-in-time/late") && p.starts == 1, p.is("hello-in-time/late-again") && p.starts == 2:
		time.Sleep(4 * time.Second)
	case p.is("hello-in-time/not-again") && p.starts == 2:
		fmt.Fprintln(os.Stderr, "the port is taken")
		os.Exit(1)
	case p.is("hello-in-time/unflushed"):
		io.WriteString(os.Stdin, `{"hello":{"protocols":[1]`)
		fallthrough
	case p.is("hello-in-time/silent-again") && p.starts == 2, p.is("hello-in-time"):
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
}

func (p *plugin) is(mode string) bool { return p.mode == mode }

func (p *plugin) hello() object {
	h := object{
		"protocols": []int{1}, "name": "broken", "version": "1",
		"kinds": []object{{
			"name": kind, "columns": []object{{"name": "SIZE", "path": "size"}},
			"schema": object{"type": "object", "required": []string{"size"}, "properties": object{"size": object{}}},
		}},
		"config_schema": object{
			"type": "object", "additionalProperties": false,
			"properties": object{"dir": object{"type": "string", "default": "/etc"}},
		},
	}
	switch p.mode {
	case "hello-complete":
		delete(h, "version")
	case "protocol-number":
		h["protocols"] = []int{99}
	case "columns-have-values":
		h["kinds"].([]object)[0]["columns"] = []object{{"name": "SIZE", "path": "siez"}}
	case "config-takes-its-defaults":
		h["config_schema"].(object)["properties"] = object{"dir": object{"type": "string", "default": 7}}
	case "config-refuses-unknown-keys/schema":
		delete(h["config_schema"].(object), "additionalProperties")
	}
	return h
}

// welcome takes the first line and judges the configuration.
func (p *plugin) welcome(line []byte) object {
	var f struct{ Welcome object }
	if json.Unmarshal(line, &f) != nil || f.Welcome == nil {
		os.Exit(1)
	}
	config, _ := f.Welcome["config"].(object)
	for key := range config {
		known := key == "dir" && !p.is("config-takes-its-defaults/refused") || p.is("config-refuses-unknown-keys")
		if !known {
			p.refuse(key)
		}
	}
	return f.Welcome
}

// refuse leaves for a key of the configuration.
func (p *plugin) refuse(key string) {
	text, exit := "what is "+key+"?", 78
	switch p.mode {
	case "config-refuses-unknown-keys/text":
		text = "bad config"
	case "config-refuses-unknown-keys/exit":
		exit = 1
	case "config-refuses-unknown-keys/silent":
		os.Exit(exit)
	}
	p.send(object{"status": object{"level": "failed", "code": "config", "text": text}})
	if p.is("config-refuses-unknown-keys/stays") {
		time.Sleep(time.Hour)
	}
	os.Exit(exit)
}

func (p *plugin) spoilMachine() {
	switch p.mode {
	case "memory-limit":
		p.told = strings.Repeat("x", 80<<20) // which is resident from now on
	case "processor-limit":
		const threads = 4 // on a busy machine one gets too little of it to be seen
		runtime.GOMAXPROCS(threads + 1)
		for range threads {
			go func() {
				for n := 0; ; n++ {
					busy.Store(int64(n))
				}
			}()
		}
	}
}

// read passes lines on and leaves at their end.
func (p *plugin) read(lines chan<- []byte) {
	in := bufio.NewReaderSize(os.Stdin, 64<<10)
	for {
		var line []byte
		for {
			part, err := in.ReadSlice('\n')
			line = append(line, part...)
			if len(line) > maxLine && !p.is("refuses-a-long-line") {
				os.Exit(1)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				p.end()
			}
		}
		lines <- line
	}
}

// end leaves at the end of input, or not.
func (p *plugin) end() {
	_, err := os.Stdin.Write([]byte("{}\n"))
	if gone := err != nil; gone && p.is("leaves-with-the-agent") || !gone && p.is("leaves-when-half-closed") {
		time.Sleep(time.Hour)
	}
	os.Exit(0)
}

func (p *plugin) hear(line []byte) {
	if line = bytes.TrimSpace(line); len(line) == 0 {
		return
	}
	var f map[string]json.RawMessage
	if json.Unmarshal(line, &f) != nil || f["refresh"] != nil && !bytes.HasPrefix(f["refresh"], []byte("{\"keys\":[")) && len(f["refresh"]) > 2 {
		if p.is("outlives-garbage") {
			time.Sleep(time.Hour)
		}
		if p.is("outlives-garbage/crash") {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		os.Exit(1)
	}
	for key, body := range f {
		switch key {
		case "ping":
			if !p.is("pong-in-time") {
				p.send(object{"pong": body})
			}
		case "ack":
			var a struct{ Seq float64 }
			json.Unmarshal(body, &a)
			p.acked = a.Seq
		case "resync":
			p.owed = !p.is("resync-repeats-all")
		case "stop":
			if !p.is("leaves-when-told") {
				os.Exit(0)
			}
		case "refresh", "trace":
		default:
			if p.is("unknown-is-ignored") {
				os.Exit(1)
			}
		}
	}
}

// list looks at the world and tells what differs.
func (p *plugin) list() {
	if p.spoilList() {
		return
	}
	full := p.listed && p.seq-p.acked >= p.window
	if full && !p.is("window-kept") && !p.is("resync-repeats-all/forgotten") {
		return
	}
	if p.is("none/noise") {
		fmt.Println("listing", strings.Repeat("\x1b[0m{", 2000))
	}
	things := []object{}
	for _, id := range []string{"a", "b", "c"} {
		if p.is("ids-stable") {
			id += fmt.Sprint(os.Getpid())
		}
		things = append(things, object{"kind": kind, "id": id, "spec": object{"size": 1}})
	}
	switch p.mode {
	case "none/empty":
		things = things[:0]
	case "none/counted":
		for i := range things {
			things[i]["id"] = fmt.Sprint(i)
		}
	}
	if name := os.Getenv("BREAK"); name != "" {
		if _, err := os.Stat(name); err == nil {
			if p.is("error-deletes-nothing/leaves") {
				os.Exit(1)
			}
			if !p.is("error-deletes-nothing") {
				p.status("degraded")
				return
			}
			things = nil
		}
	}
	p.status("ok")
	text, _ := json.Marshal(things)
	if string(text) == p.told && !p.owed {
		return
	}
	if p.is("resync-repeats-all/part") && p.owed {
		things = things[:2]
	}
	p.told, p.owed = string(text), false
	if full && p.is("resync-repeats-all/forgotten") {
		return
	}
	p.seq++
	d := object{"seq": p.seq, "begin": true, "end": true, "count": len(things), "upserts": things}
	p.spoil(d, things)
	p.send(object{"delta": d})
	if !p.listed {
		p.spoilAfter()
	}
	p.listed = true
}

// spoilList is late with a list, or reports that there is none.
func (p *plugin) spoilList() (none bool) {
	switch {
	case p.is("first-snapshot"), p.is("first-snapshot/not-again") && p.starts == 2:
		return true
	case p.is("first-snapshot/refused"):
		p.status("degraded")
		return true
	case p.is("first-snapshot/unflushed"):
		if !p.listed {
			io.WriteString(os.Stdin, `{"delta":{"seq":1`)
			p.listed = true
		}
		return true
	case p.is("resync-repeats-all/slow") && p.owed, p.is("none/slow-later") && p.starts > 1 && !p.listed:
		time.Sleep(4 * time.Second)
	}
	return false
}

func (p *plugin) status(level string) {
	if level != p.health {
		p.health = level
		p.send(object{"status": object{"level": level, "text": "it is broken"}})
	}
}

func (p *plugin) spoil(d object, things []object) {
	switch p.mode {
	case "seq-without-gap":
		p.seq++
		d["seq"] = p.seq
	case "count-matches":
		d["count"] = len(things) + 1
	case "no-duplicate-ids":
		things[0]["id"] = "b"
	case "only-declared-kinds":
		things[0]["kind"] = "com.example.other"
	case "valid-resources":
		things[0]["spec"] = []int{}
	case "one-json-object-a-line/type":
		things[0]["id"] = 7
	case "valid-resources/id":
		things[0]["id"] = ""
	case "specs-match-schema":
		things[0]["spec"] = object{"siez": 1}
	case "snapshot-first":
		delete(d, "begin")
		delete(d, "end")
	case "size-limits":
		delete(d, "end")
		for i := range 11_000 {
			things = append(things, object{"kind": kind, "id": fmt.Sprint("x", i), "spec": object{"size": strings.Repeat("x", 150)}})
		}
		d["upserts"] = things
	}
}

// spoilAfter sends what nobody wants to hear, after the first list.
func (p *plugin) spoilAfter() {
	switch p.mode {
	case "one-json-object-a-line":
		io.WriteString(os.Stdin, "listing is done\n")
	case "line-size":
		io.WriteString(os.Stdin, `{"x":"`+strings.Repeat("x", 5<<20)+"\"}\n")
	case "messages-of-a-plugin":
		p.send(object{"ack": object{"seq": 1}})
	case "valid-status":
		p.send(object{"status": object{"level": "splendid"}})
	}
}

func (p *plugin) send(f object) {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	b = append(b, '\n')
	if p.is("stdout-is-only-log") {
		os.Stdout.Write(b)
	}
	if p.is("outlives-a-slow-reader") {
		syscall.SendmsgN(0, b, nil, nil, syscall.MSG_DONTWAIT) // what does not fit is lost
		return
	}
	if _, err := os.Stdin.Write(b); err != nil && !p.is("leaves-with-the-agent") {
		os.Exit(1)
	}
}
