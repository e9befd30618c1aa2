// Package vimfault puts what vCenter answers instead of doing something in words
// for people. All words for vCenter's faults are in its one table.
package vimfault

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// Reported is a fault that vCenter says as data, of a task that failed or of a
// property that it does not show, and not as the answer to a call.
type Reported struct{ types.LocalizedMethodFault }

// Error returns the fault in words.
func (r Reported) Error() string { return say(r.Fault, r.LocalizedMessage) }

// Words returns the fault that an error is of, in words and with its name:
// "the VM is off (InvalidPowerState)". It is empty if the error is of no fault.
func Words(err error) string {
	fault, message, ok := find(err)
	if !ok {
		return ""
	}
	return say(fault, message)
}

// Is says whether vCenter has answered, with a fault.
func Is(err error) bool {
	_, _, ok := find(err)
	return ok
}

// Has says whether an error is of the fault T, such as types.NotAuthenticated.
func Has[T any](err error) bool {
	fault, _, _ := find(err)
	_, has := bare(fault).(T)
	return has
}

// find looks for a fault in an error and all that it wraps.
func find(err error) (fault any, message string, ok bool) {
	switch {
	case err == nil:
		return nil, "", false
	case soap.IsSoapFault(err):
		f := soap.ToSoapFault(err)
		return f.VimFault(), f.String, true
	case soap.IsVimFault(err):
		return soap.ToVimFault(err), "", true
	}
	switch e := err.(type) {
	case Reported:
		return e.Fault, e.LocalizedMessage, true
	case interface{ Unwrap() error }:
		return find(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			if fault, message, ok = find(one); ok {
				return fault, message, true
			}
		}
	}
	return nil, "", false
}

// bare is what a fault that may be a pointer points to; nil: there is none.
func bare(fault any) any {
	v := reflect.ValueOf(fault)
	for v.IsValid() && v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	return v.Interface()
}

// say looks the fault up, or else the kind of fault that it is one of. vCenter's
// own message is added to words that do not know the details.
func say(fault any, message string) string {
	f := bare(fault)
	if f == nil {
		if message == "" {
			return "a fault of which it says nothing"
		}
		return message
	}
	name := reflect.TypeOf(f).Name()
	if strings.TrimPrefix(strings.TrimPrefix(message, "*"), "types.") == name { // no message
		message = ""
	}
	if row, ok := table[name]; ok && row.exact != nil {
		return fmt.Sprintf("%s (%s)", row.exact(f), name)
	}
	words := ""
	for kind := reflect.TypeOf(f); words == "" && kind.Kind() == reflect.Struct; kind = kind.Field(0).Type {
		words = table[kind.Name()].words
		if kind.NumField() == 0 || !kind.Field(0).Anonymous {
			break
		}
	}
	switch {
	case words == "" && message == "":
		return name
	case words == "":
		return fmt.Sprintf("%s (%s)", message, name)
	case message == "":
		return fmt.Sprintf("%s (%s)", words, name)
	}
	return fmt.Sprintf("%s (%s: %s)", words, name, strings.TrimSuffix(message, "."))
}
